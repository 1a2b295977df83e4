"""The VP loss against the hand-computed vectors of its definition (double precision)."""

from typing import Any, Literal

import pytest
import torch
from torch import Tensor, tensor

from jude.errors import TerminalSettingsError
from jude.training.losses import vp
from jude.training.losses.vp import quadratic_loss
from jude.training.losses.vp_forms import ecdf, kernel_form, score_form, uniform_form
from jude.training.settings import VPSettings

Form = Literal["score", "uniform", "uniform_mean", "kernel"]
Orientation = Literal["low", "high", "both"]

EXACT = {"atol": 1e-9, "rtol": 0.0}
ROUNDED = {"atol": 5e-8, "rtol": 0.0}  # expected numbers are printed with seven digits


def double(*values: float) -> Tensor:
    return tensor(values, dtype=torch.float64)


def close(found: Tensor, expected: Tensor | float, **tolerance: Any) -> None:
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=torch.float64), **tolerance)


def options(tau: float, form: Form = "uniform", orientation: Orientation = "low") -> VPSettings:
    return VPSettings(form=form, tau=tau, orientation=orientation, normalise_v=False, scale_predicates=False)


X, Y, F = double(0.2, 0.5, 0.9), double(1, 0, 1), double(0.7, 0.4, 0.6)
PHI = torch.stack([torch.ones_like(X), X], dim=1)


@pytest.mark.parametrize(("tau", "loss"), [(1.0, 0.04 / 9), (0.0, 0.0692 / 9), (0.5, 0.0546 / 9)])
def test_a_one_dimension(tau: float, loss: float) -> None:
    close(quadratic_loss(F, Y, F, options(tau), PHI, X[:, None]), loss, **EXACT)


def test_a_gradient() -> None:
    f = F.clone().requires_grad_()
    quadratic_loss(f, Y, f, options(0.5), PHI, X[:, None]).backward()
    assert f.grad is not None
    close(f.grad, double(-0.0280000, -0.0216667, -0.0310000), **ROUNDED)


def test_b_score_form() -> None:
    close(quadratic_loss(F, Y, X, options(1.0, "score")), 0.19 / 27, **EXACT)
    close(score_form(Y - F, X)[1], (1 + 2 / 3 + 1 / 3) / 3, **EXACT)


CX = tensor([[0.1, 0.8], [0.4, 0.4], [0.6, 0.2], [0.9, 0.5]], dtype=torch.float64)
CY, CF = double(1, 1, 0, 0), double(0.8, 0.6, 0.3, 0.2)
CPHI = torch.cat([torch.ones(4, 1, dtype=torch.float64), CX], dim=1)


def test_c_two_dimensions() -> None:
    residuals = CY - CF
    close(uniform_form(residuals, CX)[0] / 16, 0.00275, **EXACT)
    close(uniform_form(residuals, CX, mean=True)[0] / 16, 0.00425, **EXACT)
    close(kernel_form(residuals, CX, 0.5)[0] / 16, 0.0098201091, atol=5e-11, rtol=0.0)


@pytest.mark.parametrize(
    ("tau", "loss", "gradient"),
    [
        (1.0, 0.00275, (-0.007, -0.01075, -0.00075, 0.000125)),
        (0.5, 0.1 / 48, (-0.007875, -0.35 / 48, -0.000875, -0.0003125)),
        (0.0, 0.068 / 48, None),
    ],
)
def test_c_with_predicates(tau: float, loss: float, gradient: tuple[float, ...] | None) -> None:
    f = CF.clone().requires_grad_()
    found = quadratic_loss(f, CY, f, options(tau), CPHI, CX)
    found.backward()
    close(found, loss, **EXACT)
    if gradient:
        assert f.grad is not None
        close(f.grad, double(*gradient), **EXACT)


def test_e_batches_of_two_do_not_add_up_to_the_whole() -> None:
    pairs = [[i, j] for i in range(4) for j in range(i)]
    found = [quadratic_loss(CF[p], CY[p], CF[p], options(1.0), None, CX[p]) for p in pairs]
    close(torch.stack(found).mean(), 0.0098, **EXACT)


def towers() -> tuple[Tensor, Tensor]:
    member, job = double(0, 30, 60, 90), double(10, 75, 20, 80)
    cosine = torch.cos(torch.deg2rad(member - job))
    cosine[3] = cosine[0]  # the same angle: equal scores must be equal numbers
    return cosine / 0.2 - 3.5, double(1, 0, 0, 1)


Z = double(1, 0, 1, 1)
HPHI = torch.stack([torch.ones_like(Z), Z], dim=1)


@pytest.mark.parametrize(
    ("orientation", "tau", "loss"),
    [("low", 1.0, 0.0380621602), ("high", 1.0, 0.0130065505), ("low", 0.0, 0.0169923192), ("low", 0.5, 0.0275272397)],
)
def test_h_two_towers(orientation: Orientation, tau: float, loss: float) -> None:
    logits, labels = towers()
    chosen = VPSettings(tau=tau, orientation=orientation, normalise_v=False)
    close(vp(logits, labels, chosen, predicates_BM=HPHI), loss, atol=5e-11, rtol=0.0)


def test_h_gradients() -> None:
    logits = towers()[0].requires_grad_()
    vp(logits, towers()[1], VPSettings(normalise_v=False), predicates_BM=HPHI).backward()
    assert logits.grad is not None
    close(logits.grad, double(0.008130, 0.017222, 0.016795, 0.008130), atol=5e-7, rtol=0.0)


def test_both_ends_are_the_mean_of_the_two() -> None:
    logits, labels = towers()
    low, high, both = (vp(logits, labels, VPSettings(tau=1.0, orientation=end)) for end in ("low", "high", "both"))
    close(both, float(low + high) / 2, **EXACT)


@pytest.mark.parametrize("form", ["score", "uniform", "uniform_mean", "kernel"])
@pytest.mark.parametrize("orientation", ["low", "high", "both"])
def test_gradients_are_those_of_the_value(form: Form, orientation: Orientation) -> None:
    torch.manual_seed(1)
    points, phi = torch.rand(6, 3, dtype=torch.float64), torch.rand(6, 2, dtype=torch.float64)
    labels = (torch.rand(6, dtype=torch.float64) > 0.5).double()
    ranks = torch.rand(6, dtype=torch.float64)  # V and the predicates are constants
    chosen = VPSettings(form=form, orientation=orientation)
    predictions = torch.rand(6, dtype=torch.float64).requires_grad_()
    torch.autograd.gradcheck(lambda f: quadratic_loss(f, labels, ranks, chosen, phi, points), (predictions,))


def test_score_form_is_the_matrix_it_stands_for() -> None:
    torch.manual_seed(2)
    u, r = torch.randint(0, 5, (40,)).double(), torch.randn(40, dtype=torch.float64)
    shared = (u[None, None, :] >= torch.maximum(u[:, None], u[None, :])[:, :, None]).double().mean(dim=2)
    value, diagonal = score_form(r, u)
    close(value, float(r @ shared @ r), **EXACT)
    close(diagonal, float(shared.diagonal().mean()), **EXACT)
    close(uniform_form(r, 1 - ecdf(-u)[:, None])[1], float((1 - (1 - ecdf(-u))).mean()), **EXACT)


def test_low_precision_is_raised_even_under_autocast() -> None:
    logits, labels = towers()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = vp(logits.float(), labels.float(), VPSettings(), predicates_BM=HPHI.float())
    assert found.dtype == torch.float32
    close(found.double(), float(vp(logits, labels, VPSettings(), predicates_BM=HPHI)), atol=1e-7, rtol=0.0)


def test_what_cannot_be_computed_is_refused() -> None:
    logits, labels = towers()
    with pytest.raises(TerminalSettingsError, match="at most 32"):
        uniform_form(labels, torch.rand(4, 33, dtype=torch.float64))
    with pytest.raises(TerminalSettingsError, match="predicates"):
        vp(logits, labels, VPSettings(tau=0.5))
