"""The V matrices of the VP loss: how much do two pairs share. Each gives r'Vr and the mean of V's diagonal.

Source: Vapnik & Izmailov, JMLR 16:1683 (2015) and Machine Learning 108:381 (2019). No gradient flows through V.
"""

# B pairs, K coordinates

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from jude.errors import TerminalSettingsError

Quadratic = tuple[Tensor, Tensor]
"""r'Vr and the mean of V's diagonal."""

MOST_COORDINATES: Final = 32  # the product of 1 - max(x) underflows to 0 in float32 above about 150
LEAST_BANDWIDTH: Final = 1e-6


def ecdf(u_B: Tensor) -> Tensor:
    """Give the share of values at most as large: (0, 1], equal for equal values."""
    ordered = u_B.detach().sort().values
    return torch.searchsorted(ordered, u_B.detach(), right=True).to(u_B.dtype) / len(u_B)


def score_form(residuals_B: Tensor, scores_B: Tensor) -> Quadratic:
    """V_ij = (1/b) #{t : u_t >= max(u_i, u_j)}, without building V: (1/b) sum_t S(t)^2, S(t) = sum of r over u <= u_t.

    O(b log b). Equal scores enter together: a cumulative sum that splits a tie depends on the order of the rows.
    """
    ordered, order = scores_B.detach().sort()
    last_of_tie = torch.searchsorted(ordered, ordered, right=True) - 1
    sums_B = residuals_B[order].cumsum(0)[last_of_tie]
    b = len(scores_B)
    at_least_B = b - torch.searchsorted(ordered, ordered, right=False)
    return sums_B.pow(2).sum() / b, at_least_B.to(residuals_B.dtype).mean() / b


def uniform_form(residuals_B: Tensor, points_BK: Tensor, *, mean: bool = False) -> Quadratic:
    """V_ij = product (or mean) over k of 1 - max(x_i^k, x_j^k), x in [0, 1]. O(b^2 k).

    Raises TerminalSettingsError above 32 coordinates of the product.
    """
    points_BK = points_BK.detach().to(residuals_B.dtype)
    if not mean and points_BK.shape[1] > MOST_COORDINATES:
        raise TerminalSettingsError(
            f"The uniform form of the VP loss has {points_BK.shape[1]} coordinates; its product of so many factors is "
            f"0 in float32. Take at most {MOST_COORDINATES}, or the form uniform_mean."
        )
    shared_BB = residuals_B.new_full((len(residuals_B),) * 2, 0.0 if mean else 1.0)
    for x_B in points_BK.unbind(dim=1):
        factor_BB = 1 - torch.maximum(x_B[:, None], x_B[None, :])
        shared_BB = shared_BB + factor_BB / points_BK.shape[1] if mean else shared_BB * factor_BB
    return residuals_B @ shared_BB @ residuals_B, shared_BB.diagonal().mean()


def kernel_form(residuals_B: Tensor, points_BK: Tensor, bandwidth: float | None = None) -> Quadratic:
    """V_ij = exp(-|z_i - z_j|^2 / (2 s^2)); s is the median distance of two different pairs unless given."""
    points_BK = points_BK.detach().to(residuals_B.dtype)
    distances_BB = torch.cdist(points_BK, points_BK, compute_mode="donot_use_mm_for_euclid_dist")
    s = max(LEAST_BANDWIDTH, _median_distance(distances_BB) if bandwidth is None else bandwidth)
    shared_BB = torch.exp(-distances_BB.pow(2) / (2 * s**2))
    return residuals_B @ shared_BB @ residuals_B, shared_BB.diagonal().mean()


def _median_distance(distances_BB: Tensor) -> float:
    different = ~torch.eye(len(distances_BB), dtype=torch.bool, device=distances_BB.device)
    return float(distances_BB[different].median()) if len(distances_BB) > 1 else LEAST_BANDWIDTH
