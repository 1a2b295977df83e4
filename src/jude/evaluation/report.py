"""A model on its sets, beside another: lines for a table, plain data for JSON, for MLflow and for a model card."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from jude.evaluation.encoding import Encode
from jude.evaluation.measured import WHOLE, Line
from jude.evaluation.sets import EvaluationSet

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class SetReport:
    """What was measured on one set."""

    name: str
    about: str
    data_hash: str | None
    lines: list[Line]
    overlap: float | None  # share of the first documents that both models find
    published: dict[str, float]

    def line(self, metric: str) -> Line | None:
        """Give a metric of the whole set."""
        return next((line for line in self.lines if line.slice == WHOLE and line.metric == metric), None)


@dataclass(frozen=True, slots=True)
class Report:
    """All sets of one model; `against` is who it was compared with."""

    model: str
    against: str | None
    sets: list[SetReport]

    def as_dict(self) -> dict[str, Any]:
        """Give plain data."""
        return asdict(self)

    def numbers(self) -> dict[str, float]:
        """Name every mean of a whole set, `titles.ndcg_at_10`, as MLflow keeps them."""
        lines = [(report.name, line) for report in self.sets for line in report.lines if line.slice == WHOLE]
        found = {f"{name}.{line.metric}": line.estimate.mean for name, line in lines}
        gains = {f"{name}.{line.metric}.gain": line.gain.difference.mean for name, line in lines if line.gain}
        return found | gains


def measure(
    model: str,
    encode: Encode,
    sets: Sequence[EvaluationSet],
    *,
    against: tuple[str, Encode] | None = None,
    k: int = 10,
    say: Say = lambda _: None,
) -> Report:
    """Measure a model, and another one on the same queries. `say` is told what goes on."""
    reports = []
    for one in sets:
        say(f"{one.name}: {one.about}")
        new = one.measure(encode, k)
        old = one.measure(against[1], k) if against else None
        shared = new.shared_with(old) if old else None
        lines = list(new.lines(old))
        reports.append(SetReport(one.name, one.about, one.data_hash, lines, shared, dict(one.published)))
    return Report(model, against[0] if against else None, reports)
