"""The live stream: Structured Streaming drives micro-batches through a pipeline."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from pyspark.sql import DataFrame
from pyspark.sql.streaming import StreamingQuery

from jude.encoder import EncoderSpec
from jude.planning.rows import RECORDS
from jude.settings import StreamSettings
from jude.stream.drain import Drain
from jude.stream.executors import plan_in_executors
from jude.stream.micro_batch import Applied, apply_batch
from jude.stream.pipeline import Pipeline
from jude.stream.planned import PlannedBatch, plan_on_driver
from jude.tables.protocol import Txn

log = logging.getLogger(__name__)

Planner = Literal["driver", "executors"]
Report = Callable[[Applied], None]


def stream_embeddings(
    changes: DataFrame, pipeline: Pipeline, stream: StreamSettings, spec: EncoderSpec, drain: Drain, report: Report
) -> StreamingQuery:
    """Start the stream. Columns in: RECORDS, streaming (see jude.changes.sources)."""
    writer = changes.writeStream.foreachBatch(embedding_sink(pipeline, stream, spec, drain, report))
    writer = writer.option("checkpointLocation", str(stream.checkpoint)).queryName("jude-embed-stream")
    if stream.trigger == "available_now":
        return writer.trigger(availableNow=True).start()
    return writer.trigger(processingTime=f"{stream.interval_seconds} seconds").start()


def embedding_sink(
    pipeline: Pipeline, stream: StreamSettings, spec: EncoderSpec, drain: Drain, report: Report
) -> Callable[[DataFrame, int], None]:
    """Build the writer of one stream. Safe to replay: a batch is applied once."""

    def write(batch: DataFrame, batch_id: int) -> None:
        drain.between_batches()
        query_id = batch.sparkSession.sparkContext.getLocalProperty("sql.streaming.queryId")
        txn = Txn("stream", str(query_id), batch_id)
        with _planned(batch, pipeline, stream, spec) as plan:
            report(apply_batch(plan, pipeline, txn))

    return write


@contextmanager
def _planned(
    batch: DataFrame, pipeline: Pipeline, stream: StreamSettings, spec: EncoderSpec
) -> Iterator[Callable[[], PlannedBatch]]:
    """Choose where to plan. `auto` counts the batch, which it must cache for that: a live stream names `driver`."""
    if stream.planner == "driver":
        records = batch.toArrow().cast(RECORDS)
        yield lambda: plan_on_driver(records, pipeline)
        return
    cached = batch.persist()
    try:
        if stream.planner == "executors" or cached.count() > stream.driver_rows:
            yield lambda: plan_in_executors(cached, pipeline, spec, _buckets(cached))
        else:
            records = cached.toArrow().cast(RECORDS)
            yield lambda: plan_on_driver(records, pipeline)
    finally:
        cached.unpersist()


def _buckets(batch: DataFrame) -> int:
    """Enough buckets to keep every core busy; a power of two, as the bucket hash wants."""
    cores = batch.sparkSession.sparkContext.defaultParallelism
    return 1 << (4 * cores - 1).bit_length()
