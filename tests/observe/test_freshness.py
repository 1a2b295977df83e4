from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jude.observe import Histogram, merged
from jude.observe.freshness import LAST_BUCKET, bucket_of

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
YEAR = 365 * 86400.0


def histogram(*seconds: float) -> Histogram:
    made = Histogram()
    made.add(np.array(seconds, dtype=np.float64))
    return made


def test_buckets_grow_by_a_tenth() -> None:
    assert bucket_of(np.array([0.0009, 0.00101, 0.00111, 0.00122, 1.0])).tolist() == [0, 1, 2, 3, 73]


def test_clocks_that_disagree_and_absurd_times_are_counted_at_the_ends() -> None:
    made = histogram(-3600.0, -0.001, 0.0, 200 * YEAR, np.inf)
    assert made.counts == {0: 3, LAST_BUCKET: 2}
    assert made.percentile(0.5) == 0.001
    assert 9 * YEAR < (made.percentile(1.0) or 0) < 10 * YEAR


def test_an_unknown_clock_is_not_counted() -> None:
    assert histogram(float("nan"), 1.0).total == 1


def test_an_empty_histogram_has_no_percentile() -> None:
    assert histogram().percentile(0.95) is None


@given(st.lists(st.floats(0.0011, 1e8), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_a_percentile_is_within_five_percent(seconds: list[float], q: float) -> None:
    exact = sorted(seconds)[max(1, int(np.ceil(q * len(seconds)))) - 1]
    assert histogram(*seconds).percentile(q) == pytest.approx(exact, rel=0.05)


@given(st.lists(st.floats(-10, 1e10), max_size=50), st.lists(st.floats(-10, 1e10), max_size=50))
def test_merging_is_counting_together(some: list[float], others: list[float]) -> None:
    assert merged([histogram(*some), histogram(*others).counts]) == histogram(*some, *others)


def test_two_clock_columns_give_seconds() -> None:
    clock = pa.timestamp("us", tz="UTC")
    source_ts = pa.array([NOON, None, NOON, NOON], clock)
    available_at = pa.array([NOON + timedelta(seconds=2), NOON, None, NOON - timedelta(seconds=1)], clock)
    made = Histogram()
    made.add_clocks(source_ts, pa.chunked_array([available_at]))
    assert made == histogram(2.0, -1.0)
    made.add_clocks(pa.array([], clock), pa.array([], clock))
    assert made.total == 2
