"""How sure a number is: percentile bootstrap over queries or pairs, 95%, with a seed. (Efron & Tibshirani, 1993)"""

# N queries or pairs, R resamples

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from jude.errors import TerminalTrainingError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_DRAWN_AT_ONCE: Final = 4_000_000
"""Counts that are held at a time: 32 MB. All 2,000 resamples of 33,000 queries together would be 500."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A number with its 95% interval."""

    mean: float
    low: float
    high: float

    def times(self, factor: float) -> Interval:
        """Give the same in another unit."""
        return Interval(factor * self.mean, factor * self.low, factor * self.high)

    def __format__(self, spec: str) -> str:
        """Write all three numbers by one format, `.4f` for instance; signed where nothing is said."""
        spec = spec or "+.4f"
        return f"{self.mean:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"

    def __str__(self) -> str:
        return format(self)


def bootstrap(values: Floats, *, resamples: int = 2000, seed: int = 0) -> Interval:
    """Give the mean of one number a query; queries without a number (nan) do not count.

    Raises TerminalTrainingError where no query has one.
    """
    values = values[~np.isnan(values)]
    _require_some(len(values))
    sums_R = np.concatenate([counts_RN @ values for counts_RN in _draws(len(values), resamples, seed)])
    return _interval(float(values.mean()), sums_R / len(values))


def paired(new: Floats, old: Floats, *, resamples: int = 2000, seed: int = 0) -> Interval:
    """Give the difference new - old by query: the same queries are drawn for both."""
    _require_same(new, old)
    return bootstrap(new - old, resamples=resamples, seed=seed)


def bootstrap_of(statistic: Callable[[Ints], float], rows: int, *, resamples: int = 1000, seed: int = 0) -> Interval:
    """Give a number that is no mean (AUC, a correlation): `statistic` of row numbers, drawn with replacement.

    Resamples for which it is nan (one class only) do not count.
    """
    _require_some(rows)
    random = np.random.default_rng(seed)
    found_R = np.asarray([statistic(random.integers(0, rows, rows)) for _ in range(resamples)])
    return _interval(statistic(np.arange(rows)), found_R)


def gap_bridged(
    plain: Floats, distilled: Floats, teacher: Floats, *, resamples: int = 2000, seed: int = 0
) -> Interval | None:
    """Give G = (distilled - plain) / (teacher - plain); None unless teacher - plain is surely above 0."""
    _require_same(plain, distilled)
    _require_same(plain, teacher)
    known = ~np.isnan(plain + distilled + teacher)
    plain, distilled, teacher = plain[known], distilled[known], teacher[known]
    if paired(teacher, plain, resamples=resamples, seed=seed).low <= 0:
        return None
    draws = _draws(len(plain), resamples, seed)
    gaps_R = np.concatenate([(c_RN @ (distilled - plain)) / (c_RN @ (teacher - plain)) for c_RN in draws])
    return _interval(float((distilled - plain).sum() / (teacher - plain).sum()), gaps_R)


def sign_flip(new: Floats, old: Floats, *, flips: int = 10_000, seed: int = 0) -> float:
    """Give the two-sided p-value of new - old: how often random signs make as large a mean. (Fisher, 1935)

    The least it can tell is 1 / (flips + 1).
    """
    _require_same(new, old)
    differences = (new - old)[~np.isnan(new - old)]
    _require_some(len(differences))
    random = np.random.default_rng(seed)
    block = max(1, _DRAWN_AT_ONCE // len(differences))
    minus = [
        random.integers(0, 2, (min(block, flips - begun), len(differences)), dtype=np.int8) @ differences
        for begun in range(0, flips, block)
    ]
    sums = differences.sum() - 2 * np.concatenate(minus)
    as_large = np.abs(sums) >= abs(differences.sum()) - 1e-12  # equal sums differ by their rounding
    return float((as_large.sum() + 1) / (flips + 1))


def _draws(rows: int, resamples: int, seed: int) -> Iterator[Ints]:
    """Yield how often each row is drawn, [some resamples, rows]: the same as drawing rows, without a gather."""
    random = np.random.default_rng(seed)
    block = max(1, _DRAWN_AT_ONCE // rows)
    for begun in range(0, resamples, block):
        yield random.multinomial(rows, np.full(rows, 1 / rows), size=min(block, resamples - begun))


def _interval(value: float, resampled_R: Floats) -> Interval:
    low, high = np.nanquantile(resampled_R, [0.025, 0.975])
    return Interval(value, float(low), float(high))


def _require_some(count: int) -> None:
    if not count:
        raise TerminalTrainingError("There is nothing to measure: no query or pair of this set has a number.")


def _require_same(new: Floats, old: Floats) -> None:
    if new.shape != old.shape:
        raise TerminalTrainingError(
            f"A paired test needs the same queries in both: there are {len(new)} and {len(old)} of them."
        )
