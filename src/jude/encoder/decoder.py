"""The forward pass of Llama and its kin over texts laid end to end: Llama, Mistral, Qwen2, Qwen3, Gemma.

One architecture with small differences: RMS norms, rotary positions, shared key heads, a gated feed-forward.
The last layer is computed for the pooled tokens alone where pooling needs no others. Training runs the same pass over
products that have gradients (`jude.training.packed_decoder`).
"""

# T tokens of all texts, B texts, D width, H heads, E width of a head, V vocabulary, L positions

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from jude.encoder import fused
from jude.encoder.kernels import Dense, Product, RootMeanSquareNorm, attend, attend_once
from jude.encoder.pooling import places
from jude.encoder.weights import Weights

FAMILIES: Final = frozenset({"gemma", "llama", "mistral", "qwen2", "qwen3"})
_ACTIVATIONS: Final = {"silu": "silu", "gelu_pytorch_tanh": "gelu_tanh"}
_FEWEST_POSITIONS: Final = 512


def reads(config: dict[str, Any], max_tokens: int) -> bool:
    """Whether this forward pass is the model's own: no window narrower than a text, no unusual rotation or gate."""
    window = config.get("sliding_window") if config.get("use_sliding_window", True) else None
    usual = _rope(config).get("rope_type", "default") in ("default", "llama3", "linear")
    known = config["model_type"] == "gemma" or config["hidden_act"] in _ACTIVATIONS
    return config["model_type"] in FAMILIES and usual and known and (not window or window >= max_tokens)


Turns = tuple[Tensor, Tensor]
"""Cosines and sines of places, the sines of the left half negative."""


@dataclass(frozen=True, slots=True)
class Texts:
    """What all layers of a pass share: how long its texts are, and how far each token is turned."""

    lengths: Sequence[int]
    positions: Turns  # of every position: float32 [L, E] each
    tokens: Turns | None  # of the tokens at hand: [T, 1, E] each; None: fused kernels look them up


@dataclass(frozen=True, slots=True)
class Heads:
    """What becomes of queries, or of keys, before they meet: a norm of every head (Qwen3), and rotary positions."""

    count: int
    norm: RootMeanSquareNorm
    weight: Tensor | None  # of that norm, float32 [E]; None: there is none

    def __call__(self, x_TF: Tensor, turns: Turns) -> Tensor:
        x_THE = x_TF.view(len(x_TF), self.count, -1)
        if self.weight is not None:
            x_THE, weight_E = self.norm(x_THE), self.weight.to(x_TF.dtype)
            turns = (turns[0] * weight_E, turns[1] * _swapped(weight_E))  # smaller than the heads of all tokens
        return torch.addcmul(x_THE * turns[0], _swapped(x_THE), turns[1])


@dataclass(frozen=True, slots=True)
class Attention:
    """Queries of all tokens, or of one of each text, over keys and values."""

    queries: Heads
    keys: Heads
    causal: bool

    def __call__(self, q_BF: Tensor, kv_TF: Tensor, texts: Texts, only_B: Tensor | None) -> Tensor:
        keys = self.keys.count
        if texts.tokens is None:
            norms = (self.queries.weight, self.keys.weight, self.keys.norm.eps)
            return fused.attend(
                q_BF, kv_TF, texts.lengths, only_B, heads=self.queries.count, key_heads=keys,
                width=kv_TF.shape[1] // (2 * keys), causal=self.causal, norms=norms, turns=texts.positions,
            )  # fmt: skip
        k_TF, v_TF = kv_TF.chunk(2, dim=1)
        k_THE, v_THE = self.keys(k_TF, texts.tokens), v_TF.view(len(v_TF), keys, -1)
        if only_B is None:
            return attend(self.queries(q_BF, texts.tokens), k_THE, v_THE, texts.lengths, causal=self.causal)
        q_BHE = self.queries(q_BF, (texts.tokens[0][only_B], texts.tokens[1][only_B]))
        return attend_once(q_BHE, k_THE, v_THE, texts.lengths)


@dataclass(frozen=True, slots=True)
class Layer:
    """Attention and feed-forward of one layer."""

    before: RootMeanSquareNorm
    query: Product  # apart from keys and values: in the last layer only pooled tokens ask
    key_value: Product
    attention: Attention
    attended: Product
    between: RootMeanSquareNorm
    gate: Product
    up: Product
    down: Product

    def __call__(self, x_TD: Tensor, texts: Texts, only_B: Tensor | None = None) -> Tensor:
        read_TD = self.before(x_TD)
        kv_TF = self.key_value(read_TD)
        if only_B is not None:
            x_TD, read_TD = x_TD[only_B], read_TD[only_B]
        x_TD = self.attended.plus(self.attention(self.query(read_TD), kv_TF, texts, only_B), x_TD)
        fed_TD = self.between(x_TD)
        return self.down.plus(self.up.times(fed_TD, self.gate(fed_TD)), x_TD)


@dataclass(frozen=True, slots=True)
class PackedDecoder:
    """The inner model of a decoder, without its language-model head."""

    embed: Callable[[Tensor], Tensor]  # ids [T] -> [T, D]
    layers: Sequence[Callable[[Tensor, Texts, Tensor | None], Tensor]]
    norm: RootMeanSquareNorm
    turns: Turns  # of every position: float32 [L, E] each
    vocabulary: int
    pads: bool = False

    @property
    def most_tokens(self) -> int:
        """How many positions there are."""
        return len(self.turns[0])

    def __call__(self, ids_T: Tensor, lengths: Sequence[int], only_B: Tensor | None = None) -> Tensor:
        """Give the last hidden states [T, D], or [B, D] of the tokens `only_B`, one of each text.

        Such a token must be one that reads all of its text. Texts of equal length are fastest as neighbours.
        """
        x_TD = self.embed(ids_T)
        texts = Texts(lengths, self.turns, None if fused.fuses(x_TD) else self._turns_of(lengths, x_TD))
        for layer in self.layers[:-1]:
            x_TD = layer(x_TD, texts, None)
        return self.norm(self.layers[-1](x_TD, texts, only_B))

    def _turns_of(self, lengths: Sequence[int], like: Tensor) -> Turns:
        places_T = places(torch.tensor(lengths, device=like.device))
        cosines_LE, sines_LE = self.turns
        return cosines_LE[places_T, None].to(like.dtype), sines_LE[places_T, None].to(like.dtype)


def open_decoder(config: dict[str, Any], weights: Weights, max_tokens: int, *, causal: bool) -> PackedDecoder:
    """Lay a folder's weights out for inference.

    Raises TerminalEnvironmentError when the weights are not those of the config.
    """
    words_VD = weights.get("embed_tokens.weight")
    if words_VD.device.type == "cpu":
        fused.compile_ahead(words_VD.dtype)
    return PackedDecoder(
        embed=embedding_of(config, words_VD),
        layers=[_layer(config, weights, f"layers.{n}.", causal=causal) for n in range(config["num_hidden_layers"])],
        norm=norm_of(config, weights.get("norm.weight")),
        turns=turns_of(config, max_tokens, words_VD.device),
        vocabulary=len(words_VD),
    )


def embedding_of(config: dict[str, Any], words_VD: Tensor) -> Callable[[Tensor], Tensor]:
    """Give what looks words up; Gemma scales them."""
    if config["model_type"] != "gemma":
        return lambda ids_T: words_VD[ids_T]
    scale = torch.tensor(math.sqrt(config["hidden_size"]), dtype=words_VD.dtype, device=words_VD.device)
    return lambda ids_T: words_VD[ids_T] * scale


def _swapped(x: Tensor) -> Tensor:
    """The other half of each head: left and right halves are the pairs that turn, as in Llama."""
    return torch.cat(x.chunk(2, dim=-1)[::-1], dim=-1)


def turns_of(config: dict[str, Any], max_tokens: int, device: torch.device) -> Turns:
    """Rotary positions (Su 2021, RoFormer): `Turns` of every position, float32 [L, E] each."""
    rope, positions = _rope(config), max(max_tokens, _FEWEST_POSITIONS)
    head_width = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    pairs = torch.arange(0, head_width, 2, dtype=torch.float32) / head_width
    frequencies = _stretched(1.0 / float(rope.get("rope_theta", 10_000.0)) ** pairs, rope)
    angles = torch.outer(torch.arange(positions, dtype=torch.float32), frequencies)
    return angles.cos().repeat(1, 2).to(device), torch.cat([-angles.sin(), angles.sin()], dim=1).to(device)


def _stretched(frequencies: Tensor, rope: dict[str, Any]) -> Tensor:
    """Lower the frequencies for contexts longer than pretraining's: all (linear), or only the slow ones (Llama 3)."""
    kind = rope.get("rope_type", "default")
    if kind == "default":
        return frequencies
    factor = float(rope["factor"])
    if kind == "linear":
        return frequencies / factor
    turns = rope["original_max_position_embeddings"] * frequencies / (2 * math.pi)
    low, high = float(rope["low_freq_factor"]), float(rope["high_freq_factor"])
    keep: Tensor = ((turns - low) / (high - low)).clamp(0, 1)
    return frequencies * (keep + (1 - keep) / factor)


def _rope(config: dict[str, Any]) -> dict[str, Any]:
    """transformers 5 writes rope_parameters, older ones rope_theta and rope_scaling."""
    old = {"rope_theta": config.get("rope_theta", 10_000.0), **(config.get("rope_scaling") or {})}
    rope = {**old, **(config.get("rope_parameters") or {})}
    return {**rope, "rope_type": rope.get("rope_type") or rope.get("type") or "default"}


def activation_of(config: dict[str, Any]) -> str:
    """Name the gate's activation; the early Gemma folders say gelu and mean its tanh form."""
    return "gelu_tanh" if config["model_type"] == "gemma" else _ACTIVATIONS[config["hidden_act"]]


def norm_of(config: dict[str, Any], weight_D: Tensor | None = None) -> RootMeanSquareNorm:
    """Give a norm, with its weights unless the products behind it have taken them over."""
    return RootMeanSquareNorm(float(config["rms_norm_eps"]), None if weight_D is None else _gained(config, weight_D))


def attention_of(config: dict[str, Any], q_E: Tensor | None, k_E: Tensor | None, *, causal: bool) -> Attention:
    """Give the attention of a layer; with the weights of its heads' norms where they have any."""
    heads = int(config["num_attention_heads"])
    queries, keys = (
        Heads(count, norm_of(config), None if weight_E is None else weight_E.float())
        for count, weight_E in ((heads, q_E), (int(config.get("num_key_value_heads") or heads), k_E))
    )
    return Attention(queries, keys, causal)


def _layer(config: dict[str, Any], weights: Weights, prefix: str, *, causal: bool) -> Layer:
    def product(*names: str, behind: str | None = None, activation: str = "none") -> Dense:
        inputs_D = None if behind is None else _gained(config, weights.get(f"{prefix}{behind}.weight"))
        return Dense(*weights.together(*(prefix + name for name in names), inputs_D=inputs_D), activation)

    norms = [f"{prefix}self_attn.{part}_norm.weight" for part in "qk"]
    q_E, k_E = (weights.get(name) if name in weights else None for name in norms)
    return Layer(
        before=norm_of(config),
        query=product("self_attn.q_proj", behind="input_layernorm"),
        key_value=product("self_attn.k_proj", "self_attn.v_proj", behind="input_layernorm"),
        attention=attention_of(config, q_E, k_E, causal=causal),
        attended=product("self_attn.o_proj"),
        between=norm_of(config),
        gate=product("mlp.gate_proj", behind="post_attention_layernorm", activation=activation_of(config)),
        up=product("mlp.up_proj", behind="post_attention_layernorm"),
        down=product("mlp.down_proj"),
    )


def _gained(config: dict[str, Any], weight_D: Tensor) -> Tensor:
    """The factors of a norm: Gemma's are kept less 1."""
    return weight_D.float() + 1 if config["model_type"] == "gemma" else weight_D.float()
