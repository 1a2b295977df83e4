"""One micro-batch from records to tables. MERGE of embedding_current is its commit point and comes last.

Dying before it, the replay makes the same plan and every earlier write is idempotent; dying after it, the replay
finds only stale events and changes nothing.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from jude.errors import CommitConflictError
from jude.observe import BatchCounts, Histogram, Stopwatch, ledger_rows, log_event
from jude.stream.counting import count, freshness_of
from jude.stream.effects import Effects, moves_of, put_online
from jude.stream.failures import without_failed
from jude.stream.pipeline import Pipeline
from jude.stream.planned import PlannedBatch, stop_at_missing_fields
from jude.stream.publishing import published_changes
from jude.stream.rows import current_rows, embedding_history_rows, quarantine_rows, text_history_rows
from jude.stream.vectors import Vectors, encode_part, look_up
from jude.tables.protocol import Txn
from jude.tables.spec import QUARANTINED_RECORD

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Applied:
    """What one committed batch did; for people and metrics."""

    txn: Txn
    counts: dict[str, BatchCounts]
    seconds: dict[str, float]
    freshness: dict[str, Histogram]
    quarantined: pa.Table  # what could not be applied; columns: QUARANTINED_RECORD


def apply_batch(plan: Callable[[], PlannedBatch], pipeline: Pipeline, txn: Txn) -> Applied:
    """Apply one batch; safe to call again with the same `txn`.

    A commit conflict (another stream, a backfill, a replay touched the same keys) plans the whole batch again on the
    newest state: everything written before is found by its natural key and not written twice.

    Raises TransientError when the batch must be replayed, TerminalError when a person must act.
    """
    for attempt in range(1, pipeline.commit_attempts + 1):
        try:
            return _attempt(plan, pipeline, txn)
        except CommitConflictError:
            for table in ("ledger", "quarantine"):  # they tell of the plan that is committed
                pipeline.tables.retract(table, txn)
            if attempt == pipeline.commit_attempts:
                raise
            log_event(log, logging.INFO, "commit_conflict", batch=txn.version, attempt=attempt)
            pipeline.pause(random.uniform(0.5, 1.5) * 0.05 * 2**attempt)  # noqa: S311 - jitter, not a secret
    raise AssertionError("unreachable: commit_attempts is at least 1")


def _attempt(plan: Callable[[], PlannedBatch], pipeline: Pipeline, txn: Txn) -> Applied:
    started_at = pipeline.clock()
    watch = Stopwatch(time.monotonic)
    with watch.stage("plan"):
        batch = plan()
    if pipeline.missing_field == "stop":
        stop_at_missing_fields(batch.planned)
    pipeline.after("plan")
    vectors, effects = _serve(batch, pipeline, txn, watch)
    batch = without_failed(batch, vectors.failed)
    counts = count(batch, vectors)
    with watch.stage("history"):
        quarantined, served_rows = _append_histories(batch, vectors, effects, pipeline, txn, started_at)
    with watch.stage("output"):
        pipeline.output.publish(published_changes(served_rows, vectors, pipeline))
    pipeline.after("output")
    freshness = freshness_of(batch.planned, effects)
    ledger = ledger_rows(
        counts,
        writer_query=txn.stable_id,
        writer_batch=txn.version,
        model_version=pipeline.model_version,
        started_at=started_at,
        seconds=watch.seconds,
        freshness=freshness,
    )
    with watch.stage("ledger"):
        pipeline.tables.append("ledger", ledger, txn)
    pipeline.after("ledger")
    with watch.stage("current"):
        pipeline.tables.merge_current(current_rows(batch, effects, pipeline.model_version), txn)
    pipeline.after("current")
    return Applied(txn, counts, dict(watch.seconds), freshness, quarantined)


def _serve(batch: PlannedBatch, pipeline: Pipeline, txn: Txn, watch: Stopwatch) -> tuple[Vectors, Effects]:
    """Make readable what the batch moves, part by part: nothing is online that is not stored."""
    effects = Effects()
    with watch.stage("encode"):
        vectors, parts = look_up(batch.planned, pipeline, txn)
    with watch.stage("online"):  # what needs no encoding
        waiting = put_online(moves_of(batch.planned), vectors, effects, pipeline)
    for part in parts:
        with watch.stage("encode"):
            made = encode_part(part, vectors, pipeline, txn)
        pipeline.after("encode")
        with watch.stage("store"):
            pipeline.tables.append("embedding_store", made, txn)
        pipeline.after("store")
        with watch.stage("online"):
            waiting = put_online(waiting, vectors, effects, pipeline)
        pipeline.after("online")
    return vectors, effects


def _append_histories(
    batch: PlannedBatch, vectors: Vectors, effects: Effects, pipeline: Pipeline, txn: Txn, now: datetime
) -> tuple[pa.Table, pa.Table]:
    """Give the QUARANTINED_RECORD columns of what went to quarantine, and the rows of embedding_history."""
    append = pipeline.tables.append
    append("text_history", text_history_rows(batch.planned, txn, now), txn)
    pipeline.after("text_history")
    served_rows = embedding_history_rows(batch.planned, vectors, effects, pipeline, txn, now)
    append("embedding_history", served_rows, txn)
    pipeline.after("embedding_history")
    quarantined = quarantine_rows(batch, pipeline, txn, now)
    append("quarantine", quarantined, txn)
    pipeline.after("quarantine")
    return quarantined.select(QUARANTINED_RECORD), served_rows
