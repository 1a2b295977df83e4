"""Batches by tokens: nothing lost, nothing over the budget, little padding."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from jude.encoder.batches import token_batches

LENGTHS = st.lists(st.integers(0, 300), max_size=200)
BUDGETS = st.integers(1, 5_000)


def rows(lengths: list[int], budget: int) -> list[list[int]]:
    return [batch.tolist() for batch in token_batches(lengths, budget)]


def test_short_texts_ride_together_and_a_long_one_alone() -> None:
    assert rows([3, 500, 4, 3, 10], budget=12) == [[0, 3, 2], [4], [1]]


def test_nothing_gives_no_batch() -> None:
    assert rows([], budget=100) == []


@given(LENGTHS, BUDGETS)
def test_every_row_is_in_exactly_one_batch(lengths: list[int], budget: int) -> None:
    assert sorted(row for batch in rows(lengths, budget) for row in batch) == list(range(len(lengths)))


@given(LENGTHS, BUDGETS)
def test_no_batch_of_several_rows_is_over_the_budget(lengths: list[int], budget: int) -> None:
    for batch in rows(lengths, budget):
        assert len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= budget


@given(LENGTHS, BUDGETS)
def test_a_later_batch_has_no_shorter_row(lengths: list[int], budget: int) -> None:
    flat = [lengths[row] for batch in rows(lengths, budget) for row in batch]
    assert flat == sorted(flat)


@given(LENGTHS, BUDGETS)
def test_two_neighbouring_batches_would_not_fit_into_one(lengths: list[int], budget: int) -> None:
    batches = rows(lengths, budget)
    for batch, following in pairwise(batches):
        assert (len(batch) + 1) * lengths[following[0]] > budget
