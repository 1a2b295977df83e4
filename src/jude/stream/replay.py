"""Feed quarantined records back through the same path, with their own position. Doing it twice changes nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from jude.planning.rows import RECORDS
from jude.stream.micro_batch import apply_batch
from jude.stream.pipeline import Pipeline
from jude.stream.planned import plan_on_driver
from jude.tables.protocol import Txn
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
    done = rows.filter(pc.invert(pc.is_in(rows["quarantine_id"], value_set=report.quarantined)))
    if done.num_rows:
        closing = {
            "attempt": f"closed:{txn.stable_id}:{txn.version}",
            "status": "replayed",
            "quarantined_at": pipeline.clock(),
        }
        for name, value in closing.items():
            field = QUARANTINE.schema.field(name)
            column = pa.repeat(pa.scalar(value, field.type), done.num_rows)
            done = done.set_column(done.schema.get_field_index(name), field, column)
        closing_txn = replace(txn, writer="replay-close")
        pipeline.tables.append("quarantine", done.select(QUARANTINE.schema.names).cast(QUARANTINE.schema), closing_txn)
    return len(done)
