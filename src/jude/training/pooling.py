"""From the hidden states of texts laid end to end to one vector a text."""

# T tokens of all texts together, B texts, D width

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import torch
from torch import Tensor

Pooling = Literal["mean", "last", "cls", "weighted_mean"]
POOLINGS: Final = ("mean", "last", "cls", "weighted_mean")


def pool(hidden_TD: Tensor, lengths: Sequence[int], pooling: Pooling) -> Tensor:
    """Give [B, D] in float32: the sum of many low-precision numbers would lose the small ones.

    weighted_mean weighs token i (from 1) by i: Muennighoff, arXiv:2202.08904.
    """
    hidden_TD = hidden_TD.float() if hidden_TD.dtype != torch.float64 else hidden_TD
    lengths_B = torch.tensor(lengths, device=hidden_TD.device)
    ends_B = lengths_B.cumsum(0)
    if pooling == "last":
        return hidden_TD[ends_B - 1]
    if pooling == "cls":
        return hidden_TD[ends_B - lengths_B]
    text_T = torch.repeat_interleave(torch.arange(len(lengths), device=hidden_TD.device), lengths_B)
    weights_T = hidden_TD.new_ones(len(hidden_TD))
    if pooling == "weighted_mean":
        places_T = torch.arange(len(hidden_TD), device=hidden_TD.device) - (ends_B - lengths_B)[text_T]
        weights_T = (places_T + 1).to(hidden_TD.dtype)
    sums_BD = hidden_TD.new_zeros(len(lengths), hidden_TD.shape[1])
    sums_BD = sums_BD.index_add(0, text_T, hidden_TD * weights_T[:, None])
    return sums_BD / sums_BD.new_zeros(len(lengths)).index_add(0, text_T, weights_T)[:, None]
