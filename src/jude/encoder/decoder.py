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

from jude.encoder.kernels import Dense, attend, attend_once, to_mean_square_one
from jude.encoder.pooling import places
from jude.encoder.weights import Weights

FAMILIES: Final = frozenset({"gemma", "llama", "mistral", "qwen2", "qwen3"})
_ACTIVATIONS: Final = {"silu": "silu", "gelu_pytorch_tanh": "gelu_tanh"}
_FEWEST_POSITIONS: Final = 512
_NORMS: Final = ("input_layernorm", "post_attention_layernorm")


def reads(config: dict[str, Any], max_tokens: int) -> bool:
    """Whether this forward pass is the model's own: no window narrower than a text, no unusual rotation."""
    window = config.get("sliding_window") if config.get("use_sliding_window", True) else None
    usual = _rope(config).get("rope_type", "default") in ("default", "llama3", "linear")
    return config["model_type"] in FAMILIES and usual and (not window or window >= max_tokens)


Turns = tuple[Tensor, Tensor]
"""Cosines and sines of the tokens' places: [T, 1, E] each, the sines of the left half negative."""


@dataclass(frozen=True, slots=True)
class _Heads:
    """What becomes of queries, or of keys, before they meet: a norm of every head (Qwen3), and rotary positions."""

    count: int
    norm: Tensor | None  # [E]
    eps: float

    def __call__(self, x_TF: Tensor, turns: Turns) -> Tensor:
        x_THE = x_TF.view(len(x_TF), self.count, -1)
        if self.norm is not None:
            x_THE = to_mean_square_one(x_THE, self.eps)
            turns = (turns[0] * self.norm, turns[1] * _swapped(self.norm))  # smaller than the heads of all tokens
        return torch.addcmul(x_THE * turns[0], _swapped(x_THE), turns[1])


@dataclass(frozen=True, slots=True)
class _Layer:
    """The weights of both norms are in those of the products behind them."""

    eps: float
    query: Dense  # apart from keys and values: in the last layer only pooled tokens ask
    queries: _Heads
    key_value: Dense
    keys: _Heads
    attended: Dense
    gate: Dense
    up: Dense
    down: Dense

    def __call__(
        self, x_TD: Tensor, turns: Turns, lengths: Sequence[int], only_B: Tensor | None, *, causal: bool
    ) -> Tensor:
        read_TD = to_mean_square_one(x_TD, self.eps)
        k_TF, v_TF = self.key_value(read_TD).chunk(2, dim=1)
        k_THE, v_THE = self.keys(k_TF, turns), v_TF.view(len(v_TF), self.keys.count, -1)
        if only_B is None:
            q_THE = self.queries(self.query(read_TD), turns)
            mixed_TD = attend(q_THE, k_THE, v_THE, lengths, causal=causal)
        else:
            q_BHE = self.queries(self.query(read_TD[only_B]), (turns[0][only_B], turns[1][only_B]))
            x_TD, mixed_TD = x_TD[only_B], attend_once(q_BHE, k_THE, v_THE, lengths)
        x_TD = self.attended.plus(mixed_TD, x_TD)
        fed_TD = to_mean_square_one(x_TD, self.eps)
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
        self._norm_D, self._eps = _norm(config, weights, "norm"), float(config["rms_norm_eps"])
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
        x_TD = self._layers[-1](x_TD, turns, lengths, only_B, causal=self._causal)
        return to_mean_square_one(x_TD, self._eps) * self._norm_D.to(x_TD.dtype)


def _swapped(x: Tensor) -> Tensor:
    """The other half of each head: left and right halves are the pairs that turn, as in Llama."""
    return torch.cat(x.chunk(2, dim=-1)[::-1], dim=-1)


def _turns(config: dict[str, Any], positions: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Rotary positions (Su 2021, RoFormer): `Turns` of every position, [L, E] each, computed in float32."""
    rope = _rope(config)
    head_width = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    pairs = torch.arange(0, head_width, 2, dtype=torch.float32) / head_width
    frequencies = _stretched(1.0 / float(rope.get("rope_theta", 10_000.0)) ** pairs, rope)
    angles = torch.outer(torch.arange(positions, dtype=torch.float32), frequencies)
    return angles.cos().repeat(1, 2).to(like), torch.cat([-angles.sin(), angles.sin()], dim=1).to(like)


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
    eps = float(config["rms_norm_eps"])
    before_D, between_D = (_norm(config, weights, prefix + name) for name in _NORMS)
    # The early Gemma folders say gelu and mean its tanh form.
    activation = "gelu_tanh" if config["model_type"] == "gemma" else _ACTIVATIONS[config["hidden_act"]]

    def product(*names: str, inputs_D: Tensor | None = None, activation: str = "none") -> Dense:
        return Dense(*weights.together(*(prefix + name for name in names), inputs_D=inputs_D), activation)

    def norm_of_heads(name: str) -> Tensor | None:
        return weights.get(prefix + name) if prefix + name in weights else None

    return _Layer(
        eps=eps,
        query=product("self_attn.q_proj", inputs_D=before_D),
        queries=_Heads(heads, norm_of_heads("self_attn.q_norm.weight"), eps),
        key_value=product("self_attn.k_proj", "self_attn.v_proj", inputs_D=before_D),
        keys=_Heads(key_heads, norm_of_heads("self_attn.k_norm.weight"), eps),
        attended=product("self_attn.o_proj"),
        gate=product("mlp.gate_proj", inputs_D=between_D, activation=activation),
        up=product("mlp.up_proj", inputs_D=between_D),
        down=product("mlp.down_proj"),
    )


def _norm(config: dict[str, Any], weights: Weights, name: str) -> Tensor:
    weight_D = weights.get(f"{name}.weight").float()
    return weight_D + 1 if config["model_type"] == "gemma" else weight_D
