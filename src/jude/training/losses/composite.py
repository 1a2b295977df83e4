"""Terms come in by name, one loss goes out; who pulls how hard is told by the gradient of each term alone.

`loss = bce BCE + nce InfoNCE + vp_weight VP + kd KD + margin MarginMSE`, by the weights of LossSettings.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def weigh(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Sum up the weighted terms."""
    return torch.stack([weight * terms[name] for name, weight in weights.items()]).sum()


def gradient_norms(terms: Mapping[str, Tensor], weights: Mapping[str, float], vectors_UD: Tensor) -> dict[str, float]:
    """Measure the norm of each weighted term's gradient at the vectors, the one place that all terms pass.

    VP's is 10 to 1,000 times smaller than BCE's: weights chosen without this number say little.
    """
    norms = {}
    for name, weight in weights.items():
        grad = torch.autograd.grad(weight * terms[name], vectors_UD, retain_graph=True, allow_unused=True)[0]
        norms[name] = 0.0 if grad is None else float(grad.norm())
    return norms
