"""Poolings on hand-made states: two texts of two tokens and one, in a row of their own order."""

from __future__ import annotations

import pytest
import torch

from jude.encoder.pooling import POOLINGS, finish, places, pool

STATES = torch.tensor([[1.0, 0.0], [4.0, 3.0], [5.0, -1.0]])
LENGTHS = torch.tensor([2, 1])


@pytest.mark.parametrize(
    ("pooling", "first"),
    [("mean", [2.5, 1.5]), ("last", [4.0, 3.0]), ("cls", [1.0, 0.0]), ("weighted_mean", [3.0, 2.0])],
)
def test_a_text_is_pooled_by_itself(pooling: str, first: list[float]) -> None:
    assert pool(STATES, LENGTHS, pooling).tolist() == [first, [5.0, -1.0]]


@pytest.mark.parametrize("pooling", POOLINGS)
def test_gradients_reach_no_other_text(pooling: str) -> None:
    states = STATES.clone().requires_grad_()
    pool(states, LENGTHS, pooling)[1].sum().backward()
    assert states.grad is not None
    assert states.grad.tolist() == [[0, 0], [0, 0], [1, 1]]


@pytest.mark.parametrize("pooling", POOLINGS)
def test_halves_are_pooled_in_float32(pooling: str) -> None:
    assert pool(STATES.bfloat16(), LENGTHS, pooling).dtype == torch.float32


def test_a_text_without_tokens_gives_zeros_not_nan() -> None:
    assert pool(STATES, torch.tensor([2, 0, 1]), "mean")[1].tolist() == [0, 0]


def test_a_cut_vector_has_unit_norm_again() -> None:
    vectors = torch.tensor([[3.0, 4.0, 12.0]])
    assert finish(vectors, 2, normalised=True).tolist() == [[pytest.approx(0.6), pytest.approx(0.8)]]
    assert finish(vectors, 2, normalised=False).tolist() == [[3.0, 4.0]]


def test_places_start_anew_with_every_text() -> None:
    assert places(torch.tensor([3, 1, 2])).tolist() == [0, 1, 2, 0, 0, 1]
