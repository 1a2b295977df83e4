"""Binary cross-entropy of labelled pairs."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from jude.training.losses.precision import raised


def bce(logits_B: Tensor, labels_B: Tensor) -> Tensor:
    """Average the cross-entropy over the global batch: sum / count, labels in [0, 1] (soft ones are allowed)."""
    logits_B = raised(logits_B)
    return binary_cross_entropy_with_logits(logits_B, labels_B.to(logits_B.dtype))
