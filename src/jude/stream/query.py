"""The live stream: Structured Streaming drives micro-batches through a pipeline."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Literal

from pyspark.sql import DataFrame
from pyspark.sql.streaming.query import StreamingQuery

from jude.encoder import EncoderSpec
from jude.errors import JudeError
from jude.planning.rows import RECORDS
from jude.settings import Settings, StreamSettings
from jude.stream.drain import Drain
from jude.stream.executors import plan_in_executors
from jude.stream.micro_batch import Applied, apply_batch
from jude.stream.opening import encoder_spec
from jude.stream.patience import Patience
from jude.stream.pipeline import Pipeline
from jude.stream.planned import PlannedBatch, plan_on_driver
from jude.tables.protocol import Txn

log = logging.getLogger(__name__)

Planner = Literal["driver", "executors", "auto"]
Report = Callable[[Applied], None]


def stream_embeddings(
    changes: DataFrame, pipeline: Pipeline, settings: Settings, drain: Drain, report: Report
) -> StreamingQuery:
    """Start the stream. Columns in: RECORDS, streaming (see jude.changes.sources)."""
    stream = settings.stream
    writer = changes.writeStream.foreachBatch(embedding_sink(pipeline, settings, drain, report))
    writer = writer.option("checkpointLocation", str(stream.checkpoint)).queryName("jude-embed-stream")
    if stream.trigger == "available_now":
        return writer.trigger(availableNow=True).start()
    return writer.trigger(processingTime=f"{stream.interval_seconds} seconds").start()


def embedding_sink(
    pipeline: Pipeline, settings: Settings, drain: Drain, report: Report
) -> Callable[[DataFrame, int], None]:
    """Build the writer of one stream. Safe to replay: a batch is applied once."""
    spec = encoder_spec(settings.encoder, pipeline.entities)
    planner = _planner(settings)
    patience = Patience(settings.stream.retry_seconds, drain)

    def write(batch: DataFrame, batch_id: int) -> None:
        try:
            apply(batch, batch_id)
        except JudeError as error:
            drain.failure = error
            raise

    def apply(batch: DataFrame, batch_id: int) -> None:
        drain.between_batches()
        query_id = batch.sparkSession.sparkContext.getLocalProperty("sql.streaming.queryId")
        txn = Txn("stream", str(query_id), batch_id)
        with _planned(batch, pipeline, settings.stream, spec, planner) as plan:
            report(patience.wait_out(partial(apply_batch, plan, pipeline, txn), batch_id))

    return write


@contextmanager
def _planned(
    batch: DataFrame, pipeline: Pipeline, stream: StreamSettings, spec: EncoderSpec, planner: Planner
) -> Iterator[Callable[[], PlannedBatch]]:
    """Choose where to plan. Where a batch may be too large for the driver it is counted, and cached for that."""
    if planner == "driver":
        records = batch.toArrow().cast(RECORDS)
        yield lambda: plan_on_driver(records, pipeline)
        return
    cached = batch.persist()
    try:
        if planner == "executors" or cached.count() > stream.driver_rows:
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


def _planner(settings: Settings) -> Planner:
    most = settings.source.max_offsets_per_trigger
    fits = settings.stream.planner == "auto" and most is not None and most <= settings.stream.driver_rows
    return "driver" if fits else settings.stream.planner
