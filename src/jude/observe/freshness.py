"""Freshness: seconds from the commit in the source database to the vector being readable, as a mergeable histogram."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

SMALLEST_SECONDS: Final = 0.001
GROWTH: Final = 1.1
LAST_BUCKET: Final = 278
"""Bucket b from 1 holds [0.001 * 1.1^(b-1), 0.001 * 1.1^b) seconds. Bucket 0 holds what is below a millisecond,
negative differences too (the clocks of database and store disagree). The last one holds about nine years and more."""


@dataclass(slots=True)
class Histogram:
    """Counts per bucket, sparse. A percentile read from it is within 5% of the true one."""

    counts: dict[int, int] = field(default_factory=dict)

    def add(self, seconds: NDArray[np.float64]) -> None:
        """Count durations in seconds; NaN (a clock that is not known) is not counted."""
        buckets, counts = np.unique(bucket_of(seconds[~np.isnan(seconds)]), return_counts=True)
        for bucket, count in zip(buckets.tolist(), counts.tolist(), strict=True):
            self.counts[bucket] = self.counts.get(bucket, 0) + count

    def add_clocks(self, source_ts: pa.ChunkedArray | pa.Array, available_at: pa.ChunkedArray | pa.Array) -> None:
        """Count `available_at - source_ts` (timestamps in microseconds); rows with a null clock are not counted."""
        difference = pc.subtract(pc.cast(available_at, pa.int64()), pc.cast(source_ts, pa.int64()))
        self.add(np.asarray(difference.drop_null().to_numpy(), dtype=np.float64) / 1e6)

    def percentile(self, q: float) -> float | None:
        """Give seconds for q in [0, 1]: the geometric middle of the bucket that holds the q-th duration.

        None for an empty histogram; the edge for the two open buckets (0.001 seconds or less, nine years or more).
        """
        total = sum(self.counts.values())
        rank = max(1, math.ceil(q * total))
        reached = 0
        for bucket in sorted(self.counts):
            reached += self.counts[bucket]
            if reached >= rank:
                return _middle_seconds(bucket)
        return None

    def values(self) -> Iterator[tuple[float, int]]:
        """Give (seconds, how often) per bucket, for another kind of histogram."""
        for bucket, count in sorted(self.counts.items()):
            yield _middle_seconds(bucket), count

    @property
    def total(self) -> int:
        """Give the number of durations counted."""
        return sum(self.counts.values())


def bucket_of(seconds: NDArray[np.float64]) -> NDArray[np.int64]:
    """Give the bucket of each duration."""
    positive = np.maximum(seconds, SMALLEST_SECONDS / 2)
    buckets: NDArray[np.float64] = np.floor(np.log(positive / SMALLEST_SECONDS) / math.log(GROWTH)) + 1
    return buckets.clip(0, LAST_BUCKET).astype(np.int64)


def merged(histograms: Iterable[Histogram | Mapping[int, int]]) -> Histogram:
    """Add histograms: of batches, entity types or processes; a row's map column will do."""
    counts: Counter[int] = Counter()
    for histogram in histograms:
        counts.update(histogram.counts if isinstance(histogram, Histogram) else histogram)
    return Histogram(dict(counts))


def _middle_seconds(bucket: int) -> float:
    if bucket <= 0:
        return SMALLEST_SECONDS
    exponent = bucket - 1 if bucket >= LAST_BUCKET else bucket - 0.5
    return float(SMALLEST_SECONDS * GROWTH**exponent)
