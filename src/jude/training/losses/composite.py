"""Terms come in by name, one loss goes out; who pulls how hard is told by the gradient of each term alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from jude.errors import TerminalSettingsError


@dataclass(frozen=True, slots=True)
class LossWeights:
    """w of `loss = w_bce BCE + w_nce InfoNCE + w_vp VP + w_kd KD + w_margin MarginMSE`; 0 leaves a term out."""

    bce: float = 0.0
    nce: float = 1.0
    vp: float = 0.0
    kd: float = 0.0
    margin: float = 0.0

    def __post_init__(self) -> None:
        weights = [getattr(self, field.name) for field in fields(self)]
        if min(weights) < 0 or not any(weights):
            raise TerminalSettingsError(f"The loss weights are {self}: none may be negative, one must be above 0.")

    def used(self) -> dict[str, float]:
        """Name the terms that count."""
        return {field.name: weight for field in fields(self) if (weight := getattr(self, field.name))}


def weigh(terms: Mapping[str, Tensor], weights: LossWeights) -> Tensor:
    """Sum up the weighted terms."""
    return torch.stack([weight * terms[name] for name, weight in weights.used().items()]).sum()


def gradient_norms(terms: Mapping[str, Tensor], weights: LossWeights, vectors_UD: Tensor) -> dict[str, float]:
    """Measure the norm of each weighted term's gradient at the vectors, the one place that all terms pass.

    VP's is 10 to 1,000 times smaller than BCE's: weights chosen without this number say little.
    """
    norms = {}
    for name, weight in weights.used().items():
        grad = torch.autograd.grad(weight * terms[name], vectors_UD, retain_graph=True, allow_unused=True)[0]
        norms[name] = 0.0 if grad is None else float(grad.norm())
    return norms
