"""The sizes of a transformer, from its config.json or by a well-known name; weights are not needed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jude.encoder.packaged import MINILM, find_model
from jude.errors import TerminalSettingsError

BERTS: Final = frozenset({"bert", "roberta", "xlm-roberta"})


@dataclass(frozen=True, slots=True)
class Shape:
    """What memory and arithmetic depend on."""

    name: str
    bert: bool  # two norms after, GELU; otherwise two norms before, gated SiLU (Llama, Mistral, Qwen)
    layers: int
    width: int
    inner: int  # of the feed-forward part
    heads: int
    key_heads: int
    head_width: int
    words: int
    positions: int  # learned ones
    query_biases: bool

    @property
    def in_products(self) -> int:
        """Count the weights that a token is multiplied with."""
        queries, keys = self.heads * self.head_width, self.key_heads * self.head_width
        attention = self.width * (2 * queries + 2 * keys)
        return self.layers * (attention + (2 if self.bert else 3) * self.width * self.inner)

    @property
    def parameters(self) -> int:
        """Count all parameters of the inner model: no pooler, no language-model head."""
        beside = self.width * (self.words + self.positions)
        if self.bert:
            # Two token types, three norms' worth of scale and shift, a bias for every product.
            return self.in_products + beside + 4 * self.width + self.layers * (9 * self.width + self.inner)
        keys = self.key_heads * self.head_width
        biases = (self.heads * self.head_width + 2 * keys) * self.query_biases
        return self.in_products + beside + self.width + self.layers * (2 * self.width + biases)

    def adapters(self, rank: int, roles: str) -> int:
        """Count LoRA's parameters: rank * (in + out) of each adapted layer."""
        queries, keys, width, inner = (
            self.heads * self.head_width,
            self.key_heads * self.head_width,
            self.width,
            self.inner,
        )
        sides = [width + queries, width + keys, width + keys]
        if roles == "all":
            sides += [queries + width, *([width + inner] * (2 if self.bert else 3))]
        return self.layers * rank * sum(sides)


def _decoder(name: str, layers: int, width: int, inner: int, heads: tuple[int, int], words: int) -> Shape:
    return Shape(name, False, layers, width, inner, heads[0], heads[1], width // heads[0], words, 0, "qwen2" in name)


_KNOWN: Final[Mapping[str, Shape]] = {
    "135m": _decoder("smollm2-135m", 30, 576, 1536, (9, 3), 49152),
    "1.5b": _decoder("qwen2.5-1.5b", 28, 1536, 8960, (12, 2), 151936),
    "3b": _decoder("qwen2.5-3b", 36, 2048, 11008, (16, 2), 151936),
    "7b": _decoder("mistral-7b", 32, 4096, 14336, (32, 8), 32000),
    "qwen2.5-7b": _decoder("qwen2.5-7b", 28, 3584, 18944, (28, 4), 152064),
    "14b": _decoder("qwen2.5-14b", 48, 5120, 13824, (40, 8), 152064),
}


def shape_named(name: str) -> Shape:
    """Give a well-known shape, or that of a model folder. Raises TerminalSettingsError for neither."""
    if name in _KNOWN:
        return _KNOWN[name]
    folder = find_model(MINILM).folder if name == MINILM else Path(name)
    if not (folder / "config.json").exists():
        known = ", ".join([MINILM, *_KNOWN])
        raise TerminalSettingsError(f"There is no model {name!r} to plan for. Known: {known}, or a model's folder.")
    return shape_of(Path(name).name, json.loads((folder / "config.json").read_bytes()))


def shape_of(name: str, config: Mapping[str, Any]) -> Shape:
    """Read a config.json of transformers. Raises TerminalSettingsError for an architecture that has other parts."""
    family = config.get("model_type")
    bert = family in BERTS
    if not bert and family not in ("llama", "mistral", "qwen2", "qwen3"):
        raise TerminalSettingsError(f"{name} is {family}, whose memory nobody has worked out here yet.")
    heads = int(config["num_attention_heads"])
    return Shape(
        name=name,
        bert=bert,
        layers=int(config["num_hidden_layers"]),
        width=int(config["hidden_size"]),
        inner=int(config["intermediate_size"]),
        heads=heads,
        key_heads=int(config.get("num_key_value_heads") or heads),
        head_width=int(config.get("head_dim") or config["hidden_size"] // heads),
        words=int(config["vocab_size"]),
        positions=int(config["max_position_embeddings"]) if bert else 0,
        query_biases=family == "qwen2",
    )
