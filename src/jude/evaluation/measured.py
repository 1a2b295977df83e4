"""What one model scored on one set, how sure that is, and how it compares with another model, query by query."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from jude.errors import TerminalTrainingError
from jude.evaluation.intervals import Interval, bootstrap, bootstrap_of, paired, sign_flip
from jude.evaluation.judged import Scored
from jude.evaluation.ranking import overlap

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

LOWER_IS_BETTER: Final = frozenset({"ece"})
WHOLE: Final = ""
"""The name of the slice that is the whole set."""


@dataclass(frozen=True, slots=True)
class Gain:
    """new - old of one metric; `p` where signs can be flipped (means over queries)."""

    old: Interval
    difference: Interval
    p: float | None
    verdict: str  # better | worse | not told apart


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a report."""

    slice: str
    metric: str
    count: int  # queries or pairs
    estimate: Interval
    gain: Gain | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """Numbers of one model on one set."""

    by_query: Mapping[str, Floats] = field(default_factory=dict)
    scored: Scored | None = None
    slices: Mapping[str, Bools] = field(default_factory=dict)
    first: NDArray[np.int64] | None = None  # rows of the first documents of each query

    def lines(self, against: Measured | None = None) -> Iterator[Line]:
        """Yield every metric of the whole set, then of each slice. Raises TerminalTrainingError for another set."""
        if against is not None and against.by_query.keys() != self.by_query.keys():
            raise TerminalTrainingError("These two models were measured on different sets.")
        for name, mask in {WHOLE: None, **self.slices}.items():
            for metric, values in self.by_query.items():
                old = against.by_query[metric] if against is not None else None
                yield _of_queries(name, metric, values, old, mask)
        yield from self._of_pairs(against)

    def shared_with(self, against: Measured) -> float | None:
        """Give overlap@K: the share of the first documents that both models find."""
        if self.first is None or against.first is None:
            return None
        return float(overlap(self.first, against.first).mean())

    def _of_pairs(self, against: Measured | None) -> Iterator[Line]:
        if self.scored is None:
            return
        old = against.scored.statistics() if against is not None and against.scored is not None else {}
        rows = len(self.scored.labels)
        for metric, told in self.scored.statistics().items():
            gain = None
            if before := old.get(metric):
                # mypy infers no lambda with defaults; without them the last metric would be drawn for all.
                difference = bootstrap_of(lambda drawn, a=told, b=before: a(drawn) - b(drawn), rows)  # type: ignore[misc]
                gain = Gain(bootstrap_of(before, rows), difference, None, _verdict(metric, difference))
            yield Line(WHOLE, metric, rows, bootstrap_of(told, rows), gain)


def _of_queries(name: str, metric: str, values: Floats, old: Floats | None, mask: Bools | None) -> Line:
    rows = np.ones(len(values), bool) if mask is None else mask
    kept = values[rows]
    gain = None
    if old is not None:
        difference = paired(kept, old[rows])
        p = sign_flip(kept, old[rows])
        gain = Gain(bootstrap(old[rows]), difference, p, _verdict(metric, difference))
    return Line(name, metric, int((~np.isnan(kept)).sum()), bootstrap(kept), gain)


def _verdict(metric: str, gain: Interval) -> str:
    if gain.low <= 0 <= gain.high:
        return "not told apart"
    return "better" if (gain.mean > 0) != (metric in LOWER_IS_BETTER) else "worse"
