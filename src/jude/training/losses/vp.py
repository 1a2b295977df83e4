"""The VP-matrix loss: residuals that are equal in V's eyes, and that no predicate can see, are what remains.

No public text defines the loss of this name; this is our reading of it, after the V-matrix and predicates of Vapnik &
Izmailov (JMLR 16:1683, 2015; Machine Learning 108:381, 2019; PMLR 128:4, 2020):

    L = (1/b^2) r' [tau V + (1 - tau) P] r,    r = y - f,    P = (1/m) Phi Phi'
"""

# B pairs, M predicates, K coordinates

from __future__ import annotations

import torch
from torch import Tensor

from jude.errors import TerminalSettingsError
from jude.training.losses.precision import raised
from jude.training.losses.vp_forms import Quadratic, ecdf, kernel_form, score_form, uniform_form
from jude.training.settings import VPSettings


def vp(
    logits_B: Tensor,
    labels_B: Tensor,
    options: VPSettings,
    *,
    predicates_BM: Tensor | None = None,
    points_BK: Tensor | None = None,
) -> Tensor:
    """Compute the loss of a global batch, at least 0. Gradient flows through the predictions only.

    points_BK: coordinates of the pairs: in [0, 1] for the uniform forms (default: the score's ECDF), any for the
    kernel (the normalised Hadamard product). A mini-batch adds a (1/b)-weighted squared error: use b >= 1,024.
    """
    logits_B = raised(logits_B)
    return quadratic_loss(torch.sigmoid(logits_B), labels_B, logits_B, options, predicates_BM, points_BK)


def quadratic_loss(
    predictions_B: Tensor,
    labels_B: Tensor,
    scores_B: Tensor,
    options: VPSettings,
    predicates_BM: Tensor | None = None,
    points_BK: Tensor | None = None,
) -> Tensor:
    """Compute L from predictions in (0, 1); `scores_B` only ranks. Raises TerminalSettingsError for missing parts."""
    with torch.autocast(predictions_B.device.type, enabled=False):
        residuals_B = labels_B.to(raised(predictions_B).dtype) - raised(predictions_B)
        loss = residuals_B.new_zeros(())
        if options.tau > 0:
            loss = loss + options.tau * _v_part(residuals_B, scores_B, points_BK, options)
        if options.tau < 1:
            loss = loss + (1 - options.tau) * _p_part(residuals_B, predicates_BM, scale=options.scale_predicates)
        return loss / len(residuals_B) ** 2


def _v_part(residuals_B: Tensor, scores_B: Tensor, points_BK: Tensor | None, options: VPSettings) -> Tensor:
    ends = ("low", "high") if options.orientation == "both" else (options.orientation,)
    found = [_quadratic(residuals_B, scores_B, points_BK, options, high=end == "high") for end in ends]
    value = torch.stack([value for value, _ in found]).mean()
    if not (options.normalise_v and options.tau < 1):
        return value
    return value / torch.stack([diagonal for _, diagonal in found]).mean().clamp(min=1e-12)


def _quadratic(
    residuals_B: Tensor, scores_B: Tensor, points_BK: Tensor | None, options: VPSettings, *, high: bool
) -> Quadratic:
    if options.form == "score":
        return score_form(residuals_B, -scores_B if high else scores_B)
    if options.form == "kernel":
        if points_BK is None:
            raise TerminalSettingsError("The kernel form of the VP loss needs the points of the pairs.")
        return kernel_form(residuals_B, points_BK, options.bandwidth)
    if points_BK is None:
        points_BK = ecdf(-scores_B if high else scores_B)[:, None]
    elif high:
        points_BK = 1 - points_BK
    return uniform_form(residuals_B, points_BK, mean=options.form == "uniform_mean")


def _p_part(residuals_B: Tensor, predicates_BM: Tensor | None, *, scale: bool) -> Tensor:
    """r'Pr = |Phi' r|^2 / m: P is never built."""
    if predicates_BM is None or predicates_BM.shape[1] == 0:
        raise TerminalSettingsError("vp.tau is below 1, so vp.predicates must name at least one (constant).")
    phi_BM = predicates_BM.detach().to(residuals_B.dtype)
    if scale:
        phi_BM = unit_rms(phi_BM)
    return (phi_BM.T @ residuals_B).pow(2).sum() / phi_BM.shape[1]


def unit_rms(phi_BM: Tensor) -> Tensor:
    """Scale each column that varies to a root mean square of 1; a constant column stays as it is."""
    rms_M = phi_BM.pow(2).mean(dim=0).sqrt()
    varies_M = (phi_BM != phi_BM[:1]).any(dim=0)
    return phi_BM / torch.where(varies_M & (rms_M > 0), rms_M, torch.ones_like(rms_M))
