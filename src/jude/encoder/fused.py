"""Attention, norms and rotary positions on a CPU, in one pass over memory each, by `jude.encoder.compiled`.

PyTorch has no fused kernels for them there: step by step they were a fifth of a pass in float32, a third in bfloat16.
"""

# T tokens of all texts together, B texts or tokens that ask, D width, H heads, E width of a head, L positions

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

_NO_WEIGHT: Final = np.empty(0, np.float32)
_NO_TURNS: Final = np.empty((0, 0), np.float32)
_ALL: Final = np.empty(0, np.int64)


def fuses(x: Tensor) -> bool:
    """Whether what follows can take these numbers: on a CPU, without gradients."""
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16) and torch.is_inference_mode_enabled()


def attend(
    q_BF: Tensor,
    kv_TF: Tensor,
    lengths: Sequence[int],
    only_B: Tensor | None,
    *,
    heads: int,
    key_heads: int,
    width: int,
    causal: bool,
    norms: tuple[Tensor | None, Tensor | None, float] = (None, None, 0.0),
    turns: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Attention of each text within itself: [T, H * E], or [B, H * E] for the tokens `only_B`, one of each text.

    A row of q_BF begins with its heads of queries, one of kv_TF ends with those of keys, then those of values.
    norms: weights of queries' and keys' heads, float32 [E], and eps. turns: of every position, float32 [L, E] each.
    """
    from jude.encoder import compiled  # not at the top: importing Numba takes half a second

    mixed_BF = q_BF.new_empty(len(q_BF), heads * width)
    q_norm, k_norm, eps = norms
    cosines, sines = (_NO_TURNS, _NO_TURNS) if turns is None else (turns[0].numpy(), turns[1].numpy())
    compiled.attend(
        _numbers(q_BF).reshape(len(q_BF), -1, width),
        _numbers(kv_TF).reshape(len(kv_TF), -1, width),
        _numbers(mixed_BF).reshape(len(q_BF), heads, width),
        np.array(lengths, np.int64),
        _ALL if only_B is None else only_B.numpy(),
        key_heads,
        _NO_WEIGHT if q_norm is None else q_norm.numpy(),
        _NO_WEIGHT if k_norm is None else k_norm.numpy(),
        cosines,
        sines,
        eps,
        causal,
    )
    return mixed_BF


def compile_ahead(dtype: torch.dtype) -> None:
    """Compile now, or fetch what was compiled, so that no first text waits for it."""
    with torch.inference_mode():
        one = torch.ones(1, 2, dtype=dtype)
        attend(one, one, [1], None, heads=2, key_heads=1, width=1, causal=True)
        root_mean_square_norm(one, 1e-6)


def root_mean_square_norm(x_TD: Tensor, eps: float) -> Tensor:
    """Scale every row to mean square 1."""
    from jude.encoder import compiled

    made_TD = x_TD.new_empty(x_TD.shape)
    compiled.normalise(_numbers(x_TD), _numbers(made_TD), eps)
    return made_TD


def _numbers(x: Tensor) -> Any:  # noqa: ANN401 - of float32 or of uint16
    x = x.contiguous()  # Numba compiles anew for another layout
    return (x.view(torch.uint16) if x.dtype == torch.bfloat16 else x).numpy()
