"""From token states laid end to end to one vector per text. Gradients flow through all of it: training uses it, too."""

# T tokens of all texts together, B texts, D width

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import normalize


def mean_pool(states_TD: Tensor, lengths_B: Tensor) -> Tensor:
    """Average the tokens of each text: [B, D] in float32; a text without tokens gives zeros."""
    return _sums(states_TD.float(), lengths_B) / lengths_B.clamp(min=1)[:, None]


def weighted_mean_pool(states_TD: Tensor, lengths_B: Tensor) -> Tensor:
    """Average with weights 1, 2, 3, ... from the first token on: [B, D] in float32.

    Made for causal models, whose late tokens have read more (Muennighoff 2022, SGPT, section 4).
    """
    weights_T = (places(lengths_B) + 1).to(torch.float32)
    totals_B = (lengths_B * (lengths_B + 1) / 2).clamp(min=1)
    return _sums(states_TD.float() * weights_T[:, None], lengths_B) / totals_B[:, None]


def last_pool(states_TD: Tensor, lengths_B: Tensor) -> Tensor:
    """Take the last token of each text: [B, D] in float32. No text may be empty."""
    return states_TD[lengths_B.cumsum(0) - 1].float()


def cls_pool(states_TD: Tensor, lengths_B: Tensor) -> Tensor:
    """Take the first token of each text: [B, D] in float32. No text may be empty."""
    return states_TD[lengths_B.cumsum(0) - lengths_B].float()


POOLINGS: Final[Mapping[str, Callable[[Tensor, Tensor], Tensor]]] = MappingProxyType(
    {"mean": mean_pool, "last": last_pool, "cls": cls_pool, "weighted_mean": weighted_mean_pool}
)


def pool(states_TD: Tensor, lengths_B: Tensor, pooling: str) -> Tensor:
    """Pool by name (mean, last, cls or weighted_mean): [B, D] in float32.

    Texts are told apart by their lengths alone: there is no padding, so no side of it.
    """
    return POOLINGS[pooling](states_TD, lengths_B)


def finish(vectors_BD: Tensor, width: int, *, normalised: bool) -> Tensor:
    """Keep the first `width` numbers (Kusupati 2022, Matryoshka), then give unit norm where asked for."""
    cut_BD = vectors_BD[:, :width]
    return normalize(cut_BD, dim=1) if normalised else cut_BD


def places(lengths_B: Tensor) -> Tensor:
    """Give each token's place in its own text, from 0: [T]."""
    starts_B = lengths_B.cumsum(0) - lengths_B
    total = int(lengths_B.sum())
    return torch.arange(total, device=lengths_B.device) - starts_B.repeat_interleave(lengths_B, output_size=total)


def _sums(states_TD: Tensor, lengths_B: Tensor) -> Tensor:
    texts = torch.arange(len(lengths_B), device=lengths_B.device)
    text_T = texts.repeat_interleave(lengths_B, output_size=len(states_TD))
    return states_TD.new_zeros(len(lengths_B), states_TD.shape[1]).index_add(0, text_T, states_TD)
