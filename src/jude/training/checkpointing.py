"""Checkpointing: layers whose states are computed again in the backward pass, not kept (arXiv:1604.06174)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Pass = Callable[..., Tensor]


def computed_again(layers: Sequence[Pass], checkpointing: str) -> list[Pass]:
    """Give the layers, of which none, every second one (selective) or all (full) keep no states."""
    steps = {"none": len(layers) + 1, "selective": 2, "full": 1}[checkpointing]
    return [_again(layer) if number % steps == steps - 1 else layer for number, layer in enumerate(layers)]


def _again(layer: Pass) -> Pass:
    def call(*parts: object) -> Tensor:
        if not torch.is_grad_enabled():
            return layer(*parts)
        found: Tensor = checkpoint(layer, *parts, use_reentrant=False)
        return found

    return call
