"""Feed quarantined records back through the same path, with their own position, or close what nobody will mend.

Doing it twice changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from jude.planning.rows import RECORDS
from jude.stream.micro_batch import apply_batch
from jude.stream.pipeline import Pipeline
from jude.stream.planned import plan_on_driver
from jude.tables.protocol import Tables, Txn
from jude.tables.reading import records_in
from jude.tables.spec import QUARANTINE


@dataclass(frozen=True)
class Replayed:
    """What a replay did."""

    closed: int
    still_open: int


def replay_quarantine(rows: pa.Table, pipeline: Pipeline, replay_id: str) -> Replayed:
    """Replay open quarantine rows.

    Columns in: QUARANTINE, one row per record. A record that succeeds, or that a newer change has overtaken, is
    closed by a row of status `replayed`; one that fails again stays open with a new attempt.
    """
    closed = 0
    for number, epoch in enumerate(sorted(set(rows["source_epoch"].to_pylist()))):
        same_epoch = rows.filter(pc.equal(rows["source_epoch"], epoch))
        # One record that still lacks a column must not keep the others from being replayed; the note of attempts is
        # the running stream's.
        replaying = replace(
            pipeline, source_epoch=epoch, origin="replay", missing_field="quarantine", attempts_file=None
        )
        closed += _replay_epoch(same_epoch, replaying, Txn("replay", replay_id, number))
    return Replayed(closed, rows.num_rows - closed)


def _replay_epoch(rows: pa.Table, pipeline: Pipeline, txn: Txn) -> int:
    records = rows.select(RECORDS.names).cast(RECORDS)
    report = apply_batch(partial(plan_on_driver, records, pipeline), pipeline, txn)
    failed = set(records_in(report.quarantined))
    done = rows.filter(pa.array([record not in failed for record in records_in(rows)], pa.bool_()))
    closing = replace(txn, writer="replay-close")
    _close(done, pipeline.tables, closing, status="replayed", quarantined_at=pipeline.clock())
    return len(done)


def dismiss_quarantine(rows: pa.Table, tables: Tables, dismissal_id: str, at: datetime, reason: str | None) -> None:
    """Close open quarantine rows that can never be applied, by rows of status `dismissed` that say why.

    Columns in: QUARANTINE, one row per record. Pointers and positions stay: no value that the database did not send is
    restored across a dismissed change.
    """
    said = {"error": reason} if reason else {}
    _close(rows, tables, Txn("dismiss", dismissal_id, 0), status="dismissed", quarantined_at=at, **said)


def _close(rows: pa.Table, tables: Tables, txn: Txn, **said: str | datetime) -> None:
    for name, value in {"attempt": txn.attempt, **said}.items():
        field = QUARANTINE.schema.field(name)
        column = pa.repeat(pa.scalar(value, field.type), rows.num_rows)
        rows = rows.set_column(rows.schema.get_field_index(name), field, column)
    tables.append("quarantine", rows.select(QUARANTINE.schema.names).cast(QUARANTINE.schema), txn)
