"""The other losses on numbers that can be checked by hand, and the learning-rate schedules."""

import math

import pytest
import torch
from torch import tensor

from jude.errors import TerminalSettingsError
from jude.training.losses import bce, distillation_kl, info_nce, margin_mse, weigh
from jude.training.losses.composite import gradient_norms
from jude.training.schedule import Schedule
from jude.training.settings import LossSettings


def test_bce_is_the_mean_over_the_pairs() -> None:
    expected = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-1))) / 2
    assert bce(tensor([2.0, -1.0]), tensor([1.0, 0.0])).item() == pytest.approx(expected)


def test_info_nce_of_orthogonal_candidates() -> None:
    queries, candidates = torch.eye(2), torch.eye(3)[:, :2]
    loss = info_nce(queries, candidates, tensor([0, 1]), 1.0)
    assert loss.item() == pytest.approx(math.log(math.e + 2) - 1)


def test_a_masked_candidate_is_no_negative_but_the_positive_stays() -> None:
    queries, candidates = torch.eye(2), torch.eye(2)
    everything = torch.ones(2, 2, dtype=torch.bool)
    assert info_nce(queries, candidates, tensor([0, 1]), 0.05, everything).item() == 0.0


def test_symmetric_info_nce_is_the_mean_of_both_directions() -> None:
    torch.manual_seed(0)
    queries, documents = torch.randn(4, 8), torch.randn(4, 8)
    own = torch.arange(4)
    there, back = info_nce(queries, documents, own, 0.1), info_nce(documents, queries, own, 0.1)
    both = info_nce(queries, documents, own, 0.1, symmetric=True)
    assert both.item() == pytest.approx((there + back).item() / 2, rel=1e-6)


def test_queries_of_one_document_are_no_negatives_of_each_other_on_the_way_back() -> None:
    """Batches mask what a query's positive is, its own document too: the loss never masks what stands for the pair."""
    queries, documents = tensor([[1.0, 0.0], [0.0, 1.0]]), tensor([[1.0, 1.0]])
    masked = tensor([[True], [True]])
    assert info_nce(queries, documents, tensor([0, 0]), 0.05, masked, symmetric=True).item() == 0.0


def test_distillation_of_equal_scores_is_zero_and_ignores_absent_candidates() -> None:
    scores = tensor([[2.0, 1.0, 99.0]])
    present = tensor([[True, True, False]])
    same = distillation_kl(
        scores, tensor([[2.0, 1.0, -5.0]]), present, student_temperature=1.0, teacher_temperature=1.0
    )
    assert same.item() == pytest.approx(0.0, abs=1e-7)


def test_distillation_is_the_kl_of_the_two_softmaxes() -> None:
    teacher, student = tensor([[math.log(3.0), 0.0]]), tensor([[0.0, 0.0]])
    loss = distillation_kl(student, teacher, teacher > -1, student_temperature=1.0, teacher_temperature=1.0)
    assert loss.item() == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))


def test_margin_mse_counts_present_candidates_only() -> None:
    student, teacher = tensor([[1.0, 0.5, 7.0]]), tensor([[3.0, 1.0, 0.0]])
    assert margin_mse(student, teacher, tensor([[True, True, False]])).item() == pytest.approx((0.5 - 2.0) ** 2)


def test_the_composite_weighs_and_tells_who_pulls() -> None:
    x = tensor([3.0], requires_grad=True)
    terms, weights = {"bce": x.sum(), "vp": 5 * x.sum()}, LossSettings(bce=2, nce=0, vp_weight=0.1).weights()
    assert weigh(terms, weights).item() == pytest.approx(7.5)
    assert gradient_norms(terms, weights, x) == pytest.approx({"bce": 2.0, "vp": 0.5})


@pytest.mark.parametrize(("t", "share"), [(0, 1 / 32), (50, 0.515625), (100, 1), (550, 0.515625), (1000, 1 / 32)])
def test_the_slanted_schedule_has_the_numbers_of_its_definition(t: int, share: float) -> None:
    assert Schedule(2.0, 1000, 100).rate(t) == pytest.approx(2 * share)


@pytest.mark.parametrize(("t", "share"), [(0, 1 / 32), (550, 0.515625), (1000, 1 / 32), (2000, 1 / 32)])
def test_plain_slanted_triangle(t: int, share: float) -> None:
    assert Schedule(1.0, 1000, 100, kind="slanted_linear").rate(t) == pytest.approx(share)


def test_plain_cosine_moves_at_once_and_ends_at_zero() -> None:
    rates = [Schedule(1.0, 10, 4, kind="cosine").rate(t) for t in (0, 3, 4, 10)]
    assert rates == pytest.approx([0.25, 1.0, 1.0, 0.0])


def test_no_warm_up_starts_at_the_top() -> None:
    assert Schedule(1.0, 10, 0).rate(0) == 1.0


@pytest.mark.parametrize(("updates", "warmup"), [(10, 10), (10, -1), (0, 0)])
def test_a_schedule_without_an_end_is_refused(updates: int, warmup: int) -> None:
    with pytest.raises(TerminalSettingsError, match="warm-up"):
        Schedule(1.0, updates, warmup)
