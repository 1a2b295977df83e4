"""The building blocks of our forward passes: products with weights laid out once, norms, attention without padding."""

# T tokens of all texts together, B texts, L tokens of one text, D width, F width made, H heads, E width of a head

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor
from torch.nn.functional import gelu, layer_norm, linear, scaled_dot_product_attention, silu

from jude.encoder import fused

Run = tuple[int, int]
"""Neighbouring texts of equal length: how many, how long."""

_TYPICAL_TOKENS = 1024  # of a forward pass: oneDNN chooses the layout of the weights by it


class Product(Protocol):
    """`x W^T + b`, an activation included: `Dense` for inference, others where adapters are trained."""

    def __call__(self, x_TD: Tensor) -> Tensor: ...

    def plus(self, x_TD: Tensor, residual_TF: Tensor) -> Tensor:
        """`x W^T + b + residual`."""
        ...

    def times(self, x_TD: Tensor, gate_TF: Tensor) -> Tensor:
        """`(x W^T + b) * gate`."""
        ...


class Dense:
    """`x W^T + b`, an activation included. On a CPU the weights are laid out for oneDNN once, not in every pass."""

    def __init__(self, weight_FD: Tensor, bias_F: Tensor | None, activation: str = "none") -> None:
        """Activations: none, gelu, gelu_tanh, silu."""
        self._activation = activation
        self._bias_F = bias_F
        self._packed = weight_FD.device.type == "cpu" and _onednn_packs(weight_FD.dtype)
        self._weight = weight_FD
        if self._packed:
            self._weight = torch.ops.mkldnn._reorder_linear_weight(weight_FD, _TYPICAL_TOKENS)

    def __call__(self, x_TD: Tensor) -> Tensor:
        if self._packed:
            name, algorithm = _ONEDNN[self._activation]
            made_TF: Tensor = torch.ops.mkldnn._linear_pointwise(x_TD, self._weight, self._bias_F, name, [], algorithm)
            return made_TF
        return activated(linear(x_TD, self._weight, self._bias_F), self._activation)

    def plus(self, x_TD: Tensor, residual_TF: Tensor) -> Tensor:
        """`x W^T + b + residual` in one pass over memory."""
        return self._with(x_TD, residual_TF, "add") if self._packed else self(x_TD) + residual_TF

    def times(self, x_TD: Tensor, gate_TF: Tensor) -> Tensor:
        """`(x W^T + b) * gate` in one pass over memory."""
        return self._with(x_TD, gate_TF, "mul") if self._packed else self(x_TD) * gate_TF

    def _with(self, x_TD: Tensor, other_TF: Tensor, how: str) -> Tensor:
        made_TF: Tensor = torch.ops.mkldnn._linear_pointwise.binary(x_TD, other_TF, self._weight, self._bias_F, how)
        return made_TF


_ONEDNN = {"none": ("none", ""), "gelu": ("gelu", "none"), "gelu_tanh": ("gelu", "tanh"), "silu": ("swish", "")}


def activated(x_TF: Tensor, activation: str) -> Tensor:
    """Apply an activation that `Dense` knows."""
    match activation:
        case "gelu":
            return gelu(x_TF)
        case "gelu_tanh":
            return gelu(x_TF, approximate="tanh")
        case "silu":
            return silu(x_TF)
        case _:
            return x_TF


@dataclass(frozen=True, slots=True)
class LayerNorm:
    """Mean 0, variance 1, then scale and shift."""

    weight: Tensor
    bias: Tensor
    eps: float

    def __call__(self, x_TD: Tensor) -> Tensor:
        return layer_norm(x_TD, self.weight.shape, self.weight, self.bias, self.eps)


@dataclass(frozen=True, slots=True)
class RootMeanSquareNorm:
    """Scale the last dimension to mean square 1, then by the weights (Zhang, Sennrich 2019).

    The sum of squares is float32.
    """

    eps: float
    weight: Tensor | None = None  # [D]; None: the products behind have it

    def __call__(self, x: Tensor) -> Tensor:
        if x.ndim == 2 and self.weight is None and fused.fuses(x):
            return fused.root_mean_square_norm(x, self.eps)
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        made = x * torch.rsqrt(length.square() / x.shape[-1] + self.eps).to(x.dtype)
        return made if self.weight is None else made * self.weight.to(x.dtype)


def runs_of(lengths: Sequence[int]) -> list[Run]:
    """Join neighbouring texts of equal length: they share a call of attention and need no mask."""
    return [(len(list(run)), length) for length, run in groupby(lengths)]


def attend(q_THE: Tensor, k_THE: Tensor, v_THE: Tensor, lengths: Sequence[int], *, causal: bool) -> Tensor:
    """Attention of each text within itself: [T, H * E]. Fewer heads of keys than of queries are shared by groups."""
    if q_THE.device.type == "cuda" and q_THE.dtype != torch.float32:
        return _attend_on_cuda(q_THE, k_THE, v_THE, lengths, causal=causal)
    runs = runs_of(lengths)
    mixed = []
    for (texts, _), *of_run in zip(runs, *(_by_run(x, runs) for x in (q_THE, k_THE, v_THE)), strict=True):
        q, k, v = (_by_text(x, texts) for x in of_run)
        found = scaled_dot_product_attention(
            q, k, v, is_causal=causal and q.shape[2] > 1, enable_gqa=q.shape[1] != k.shape[1]
        )
        mixed.append(found.transpose(1, 2).flatten(0, 1).flatten(1))
    return _joined(mixed)


def _by_run(x_THE: Tensor, runs: Sequence[Run]) -> Sequence[Tensor]:
    """Cut at once: the gradients of slices would each be as long as all texts together."""
    return [x_THE] if len(runs) == 1 else torch.split(x_THE, [texts * length for texts, length in runs])


def _joined(mixed: list[Tensor]) -> Tensor:
    return mixed[0] if len(mixed) == 1 else torch.cat(mixed)


def _by_text(x_THE: Tensor, texts: int) -> Tensor:
    """Texts of equal length side by side: [texts, H, L, E]."""
    return x_THE.view(texts, -1, *x_THE.shape[1:]).transpose(1, 2)


def attend_once(q_BHE: Tensor, k_THE: Tensor, v_THE: Tensor, lengths: Sequence[int]) -> Tensor:
    """Attention of one query per text over all of that text: [B, H * E]. For a layer that feeds pooling alone."""
    grouped = q_BHE.shape[1] != k_THE.shape[1]
    runs = runs_of(lengths)
    asked = [q_BHE] if len(runs) == 1 else torch.split(q_BHE, [texts for texts, _ in runs])
    mixed = []
    for (texts, _), q_NHE, *of_run in zip(runs, asked, *(_by_run(x, runs) for x in (k_THE, v_THE)), strict=True):
        k, v = (_by_text(x, texts) for x in of_run)
        mixed.append(scaled_dot_product_attention(q_NHE[:, :, None], k, v, enable_gqa=grouped).flatten(1))
    return _joined(mixed)


def _attend_on_cuda(q_THE: Tensor, k_THE: Tensor, v_THE: Tensor, lengths: Sequence[int], *, causal: bool) -> Tensor:
    """All texts in one call: PyTorch's own flash attention for variable lengths."""
    from torch.nn.attention.varlen import varlen_attn

    ends = torch.tensor([0, *lengths]).cumsum(0).to(q_THE.device, torch.int32)
    longest = max(lengths)
    window = (-1, 0) if causal else (-1, -1)
    grouped = q_THE.shape[1] != k_THE.shape[1]
    mixed_THE: Any = varlen_attn(
        q_THE, k_THE, v_THE, ends, ends, longest, longest, window_size=window, enable_gqa=grouped, num_splits=1
    )
    return cast("Tensor", mixed_THE.flatten(1))


@lru_cache(maxsize=4)
def _onednn_packs(dtype: torch.dtype) -> bool:
    """Whether this build of torch has the ops that its compiler uses on CPUs, and they work for this type."""
    ones = torch.ones(2, 16, dtype=dtype)
    try:
        weight = torch.ops.mkldnn._reorder_linear_weight(torch.ones(16, 16, dtype=dtype), 16)
        plain = torch.ops.mkldnn._linear_pointwise(ones, weight, None, "none", [], "")
        added = torch.ops.mkldnn._linear_pointwise.binary(ones, plain, weight, None, "add")
    except (AttributeError, NotImplementedError, RuntimeError):
        return False
    return bool((added == 32).all())


def cpu_is_faster_in_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether products in bfloat16 take less time than in float32 here: with AMX, or AVX-512 BF16 of an AMD.

    AVX-512 BF16 alone does not tell: it halves the time on an EPYC (Zen 4, Zen 5) and doubles it on a Xeon (Sapphire
    Rapids) whose AMX the hypervisor hides. By name, not measured: vectors must not depend on who else was busy.
    """
    try:
        text = cpuinfo.read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return "amx_bf16" in text or ("avx512_bf16" in text and "AuthenticAMD" in text)
