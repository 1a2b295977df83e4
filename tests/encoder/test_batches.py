"""Batches by tokens: nothing lost, nothing over the budget, little padding."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from jude.encoder.batches import even_batches, padding_share, token_batches

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


def test_padding_is_what_shorter_texts_of_a_batch_lack() -> None:
    lengths = [2, 10, 4, 10]

    assert padding_share(lengths, token_batches(lengths, 20)) == 1 - 26 / (2 * 4 + 2 * 10)
    assert padding_share([], []) == 0.0


@given(st.lists(st.integers(1, 300), max_size=200), BUDGETS, st.integers(1, 4))
def test_even_batches_hold_every_row_once_and_about_equally_many_tokens(
    lengths: list[int], budget: int, lanes: int
) -> None:
    batches = [batch.tolist() for batch in even_batches(lengths, budget, lanes)]
    tokens = [sum(lengths[row] for row in batch) for batch in batches]

    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert all(max(lengths[r] for r in a) <= min(lengths[r] for r in b) for a, b in pairwise(batches))
    assert all(count <= budget + max(lengths) for count in tokens)


def test_no_lane_stands_idle_unless_its_part_would_be_tiny() -> None:
    def tokens(lengths: list[int], lanes: int) -> list[int]:
        return [sum(lengths[row] for row in batch) for batch in even_batches(lengths, 1024, lanes)]

    assert tokens([60, 220, 120], 2) == [180, 220]
    assert tokens([100] * 30, 2) == [700, 800, 700, 800]
    assert tokens([20, 20, 20], 2) == [60]
    assert tokens([500], 2) == [500]
