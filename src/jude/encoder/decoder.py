"""The forward pass of Llama and its kin over texts laid end to end: Llama, Mistral, Qwen2, Qwen3, Gemma.

One architecture with small differences: RMS norms, rotary positions, shared key heads, a gated feed-forward.
The last layer is computed for the pooled tokens alone where pooling needs no others.
"""

# T tokens of all texts, B texts, D width, H heads, E width of a head, V vocabulary, L positions

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from jude.encoder.kernels import Dense, RootMeanSquareNorm, attend, attend_once
from jude.encoder.pooling import places
from jude.encoder.weights import Weights

FAMILIES: Final = frozenset({"gemma", "llama", "mistral", "qwen2", "qwen3"})
_ACTIVATIONS: Final = {"silu": "silu", "gelu_pytorch_tanh": "gelu_tanh"}
_FEWEST_POSITIONS: Final = 512


def reads(config: dict[str, Any], max_tokens: int) -> bool:
    """Whether this forward pass is the model's own: no window narrower than a text, no unusual rotation."""
    window = config.get("sliding_window") if config.get("use_sliding_window", True) else None
    usual = _rope(config).get("rope_type", "default") in ("default", "llama3", "linear")
    return config["model_type"] in FAMILIES and usual and (not window or window >= max_tokens)


@dataclass(frozen=True, slots=True)
class _Layer:
    heads: int  # of queries
    key_heads: int
    before: RootMeanSquareNorm
    query_key_value: Dense  # one product instead of three
    head_norm: RootMeanSquareNorm | None  # of queries and keys (Qwen3)
    attended: Dense
    between: RootMeanSquareNorm
    gate: Dense
    up: Dense
    down: Dense

    def __call__(
        self, x_TD: Tensor, turns: tuple[Tensor, Tensor], lengths: Sequence[int], only_B: Tensor | None, *, causal: bool
    ) -> Tensor:
        rows = self.heads + self.key_heads
        qkv_THE = self.query_key_value(self.before(x_TD)).view(len(x_TD), rows + self.key_heads, -1)
        qk_THE, v_THE = qkv_THE[:, :rows], qkv_THE[:, rows:]
        if self.head_norm is not None:
            qk_THE = self.head_norm(qk_THE)
        q_THE, k_THE = _turned(qk_THE, turns).tensor_split((self.heads,), dim=1)
        if only_B is None:
            mixed_TD = attend(q_THE, k_THE, v_THE, lengths, causal=causal)
        else:
            x_TD, mixed_TD = x_TD[only_B], attend_once(q_THE[only_B], k_THE, v_THE, lengths)
        x_TD = self.attended.plus(mixed_TD, x_TD)
        fed_TD = self.between(x_TD)
        return self.down.plus(self.up.times(fed_TD, self.gate(fed_TD)), x_TD)


class PackedDecoder:
    """The inner model of a decoder folder, without its language-model head; for inference."""

    pads: Final = False

    def __init__(self, config: dict[str, Any], weights: Weights, max_tokens: int, *, causal: bool) -> None:
        """Raises TerminalEnvironmentError when the weights are not those of the config."""
        self._causal = causal
        self._words_VD = weights.get("embed_tokens.weight")
        self._scale = math.sqrt(config["hidden_size"]) if config["model_type"] == "gemma" else None
        self._layers = [_layer(config, weights, f"layers.{n}.") for n in range(config["num_hidden_layers"])]
        self._norm = _norm(config, weights, "norm")
        self._turns = _turns(config, max(max_tokens, _FEWEST_POSITIONS), self._words_VD)
        self.vocabulary = len(self._words_VD)
        self.most_tokens = len(self._turns[0])

    def __call__(self, ids_T: Tensor, lengths: Sequence[int], only_B: Tensor | None = None) -> Tensor:
        """Give the last hidden states [T, D], or [B, D] of the tokens `only_B`, one of each text.

        Such a token must be one that reads all of its text. Texts of equal length are fastest as neighbours.
        """
        places_T = places(torch.tensor(lengths, device=ids_T.device))
        turns = (self._turns[0][places_T, None], self._turns[1][places_T, None])
        x_TD = self._words_VD[ids_T]
        if self._scale is not None:
            x_TD = x_TD * torch.tensor(self._scale, dtype=x_TD.dtype, device=x_TD.device)
        for layer in self._layers[:-1]:
            x_TD = layer(x_TD, turns, lengths, None, causal=self._causal)
        return self._norm(self._layers[-1](x_TD, turns, lengths, only_B, causal=self._causal))


def _turned(x_THE: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary positions (Su 2021, RoFormer); the halves of a head are its pairs, as in Llama."""
    cos_T1E, sin_T1E = turns
    turned_THE = x_THE * cos_T1E
    (left, right), (turned_left, turned_right) = x_THE.chunk(2, dim=-1), turned_THE.chunk(2, dim=-1)
    sin_left, sin_right = sin_T1E.chunk(2, dim=-1)
    turned_left.addcmul_(right, sin_left, value=-1)
    turned_right.addcmul_(left, sin_right)
    return turned_THE


def _turns(config: dict[str, Any], positions: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines of every position: [L, E] each, computed in float32."""
    rope = _rope(config)
    head_width = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    pairs = torch.arange(0, head_width, 2, dtype=torch.float32) / head_width
    frequencies = _stretched(1.0 / float(rope.get("rope_theta", 10_000.0)) ** pairs, rope)
    angles_LE = torch.outer(torch.arange(positions, dtype=torch.float32), frequencies).repeat(1, 2)
    return angles_LE.cos().to(like), angles_LE.sin().to(like)


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


def _layer(config: dict[str, Any], weights: Weights, prefix: str) -> _Layer:
    heads = int(config["num_attention_heads"])
    key_heads = int(config.get("num_key_value_heads") or heads)
    attention = [f"{prefix}self_attn.{part}_proj" for part in "qkv"]
    # The early Gemma folders say gelu and mean its tanh form.
    activation = "gelu_tanh" if config["model_type"] == "gemma" else _ACTIVATIONS[config["hidden_act"]]
    return _Layer(
        heads=heads,
        key_heads=key_heads,
        before=_norm(config, weights, f"{prefix}input_layernorm"),
        query_key_value=Dense(*weights.together(*attention)),
        head_norm=_head_norm(config, weights, prefix, heads, key_heads),
        attended=Dense(*weights.together(f"{prefix}self_attn.o_proj")),
        between=_norm(config, weights, f"{prefix}post_attention_layernorm"),
        gate=Dense(*weights.together(f"{prefix}mlp.gate_proj"), activation),
        up=Dense(*weights.together(f"{prefix}mlp.up_proj")),
        down=Dense(*weights.together(f"{prefix}mlp.down_proj")),
    )


def _head_norm(
    config: dict[str, Any], weights: Weights, prefix: str, heads: int, key_heads: int
) -> RootMeanSquareNorm | None:
    if f"{prefix}self_attn.q_norm.weight" not in weights:
        return None
    q_E, k_E = weights.get(f"{prefix}self_attn.q_norm.weight"), weights.get(f"{prefix}self_attn.k_norm.weight")
    return RootMeanSquareNorm(torch.cat([q_E.expand(heads, -1), k_E.expand(key_heads, -1)]), config["rms_norm_eps"])


def _norm(config: dict[str, Any], weights: Weights, name: str) -> RootMeanSquareNorm:
    weight_D = weights.get(f"{name}.weight").float()
    return RootMeanSquareNorm(weight_D + 1 if config["model_type"] == "gemma" else weight_D, config["rms_norm_eps"])
