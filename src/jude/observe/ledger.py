"""The ledger: what came in, what became of it, and the proof that nothing was lost in between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime

import pyarrow as pa

from jude.errors import BrokenLedgerError
from jude.observe.freshness import Histogram
from jude.tables.spec import LEDGER


@dataclass(slots=True)
class BatchCounts:
    """The counters of one batch, model version and entity type; the columns of the table `ledger`, by name."""

    control: int = 0
    events_in: int = 0
    quarantined: int = 0
    superseded: int = 0
    stale: int = 0
    unchanged: int = 0
    unchanged_columns: int = 0
    unchanged_text: int = 0
    deleted: int = 0
    changed: int = 0
    duplicate_in_batch: int = 0
    already_stored: int = 0
    already_stored_input: int = 0
    inferences: int = 0
    inferences_repeated: int = 0
    tokens: int = 0
    truncated: int = 0
    superseded_texts: int = 0

    def check(self) -> None:
        """Raise BrokenLedgerError unless every event has exactly one fate and every change exactly one vector."""
        broken = [f"{name} = {whole}, its parts give {parts}" for name, whole, parts in self._sums() if whole != parts]
        broken += [f"{part} > {whole}" for part, whole in _PARTS if getattr(self, part) > getattr(self, whole)]
        broken += [f"{name} is negative" for name, count in asdict(self).items() if count < 0]
        if broken:
            raise BrokenLedgerError(
                f"The counts of the batch do not add up: {'; '.join(broken)}. Counts: {asdict(self)}. "
                "Nothing of the batch was committed. This is a defect of JUDE: please report the counts."
            )

    @property
    def skipped(self) -> int:
        """Events that needed no inference: superseded, stale, unchanged, doubles, and vectors already stored."""
        return self.superseded + self.stale + self.unchanged + self.duplicate_in_batch + self.already_stored

    def __add__(self, other: BatchCounts) -> BatchCounts:
        """Add counter by counter."""
        return BatchCounts(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    def _sums(self) -> tuple[tuple[str, int, int], ...]:
        fates = self.quarantined + self.superseded + self.stale + self.unchanged + self.deleted + self.changed
        return (
            ("events_in", self.events_in, fates),
            ("changed", self.changed, self.duplicate_in_batch + self.already_stored + self.inferences),
            ("unchanged", self.unchanged, self.unchanged_columns + self.unchanged_text),
        )


_PARTS = (("already_stored_input", "already_stored"), ("inferences_repeated", "inferences"))


def ledger_rows(
    counts: Mapping[str, BatchCounts],
    *,
    writer_query: str,
    writer_batch: int,
    model_version: str,
    started_at: datetime,
    seconds: Mapping[str, float],
    freshness: Mapping[str, Histogram],
) -> pa.Table:
    """Check every entity type's counts and give its row of the table `ledger`.

    `counts` and `freshness` are by entity type ('' where it could not be told). `seconds`, per stage, are those of the
    whole batch and stand on each of its rows: take them once per batch, do not sum them over entity types.
    Raises BrokenLedgerError.
    """
    rows = []
    for entity_type, counted in sorted(counts.items()):
        counted.check()
        rows.append(
            {
                "writer_query": writer_query,
                "writer_batch": writer_batch,
                "model_version": model_version,
                "entity_type": entity_type,
                "started_at": started_at,
                **asdict(counted),
                "seconds": list(seconds.items()),
                "freshness": sorted(freshness.get(entity_type, Histogram()).counts.items()),
            }
        )
    return pa.Table.from_pylist(rows, schema=LEDGER.schema)
