"""Run the job: start Spark, open everything, stream until stopped."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack

from pyspark.errors import StreamingQueryException
from pyspark.sql import SparkSession
from pyspark.sql.streaming.listener import StreamingQueryListener

from jude.changes.sources import read_changes
from jude.observe import configure_logs, log_event
from jude.observe.metrics import Metrics, open_metrics
from jude.settings import Settings
from jude.spark import build_spark
from jude.stream.checkpoint import locked, require_metadata, require_own_tables, require_whole
from jude.stream.drain import Drain, wait_for
from jude.stream.micro_batch import Applied
from jude.stream.opening import open_pipeline
from jude.stream.query import stream_embeddings
from jude.stream.topics import check_topics
from jude.tables.reading import version_of_alias

log = logging.getLogger(__name__)


def run_stream(settings: Settings, report: Callable[[Applied], None] | None = None, drain: Drain | None = None) -> None:
    """Keep the embeddings fresh: until stopped, or with the trigger available_now until all is processed.

    `report` is called after each committed batch (by default it is logged); `drain` lets the caller ask for the end.
    Raises JudeError with what to do; the query's own error when Spark ends it.
    """
    configure_logs(settings.log.format, level=settings.log.level, show_ids=settings.log.show_ids)
    with locked(settings.stream.checkpoint), ExitStack() as opened:
        metrics = open_metrics(settings.metrics)  # first: a port that is taken is told at once
        if metrics is not None:
            opened.callback(metrics.close)
        spark = start_spark(settings)
        pipeline = open_pipeline(settings, spark)
        opened.callback(pipeline.online.close)
        opened.callback(pipeline.output.close)
        versions = pipeline.tables.model_versions()
        require_metadata(settings.stream.checkpoint)
        require_own_tables(settings.stream.checkpoint, versions)
        if version_of_alias(versions) != pipeline.model_version:
            log_event(
                log, logging.WARNING, "feeds a version that is not current: readers do not see it",
                model_version=pipeline.model_version,
            )  # fmt: skip
        if metrics is not None:
            spark.streams.addListener(_listener(metrics))
        check_topics(spark, settings)
        drain = drain or Drain()
        drain.on_sigterm(spark)
        try:
            query = stream_embeddings(
                read_changes(spark, settings.source),
                pipeline,
                settings,
                drain,
                reporting(report or log_batch, metrics),
            )
            wait_for(query, drain, settings.stream.drain_after_seconds)
        except StreamingQueryException as error:
            require_whole(settings.stream.checkpoint, error)
            check_topics(spark, settings)  # lost records are told in a sentence
            raise


def start_spark(settings: Settings) -> SparkSession:
    """Start (or join) the Spark session that the settings describe."""
    chosen = settings.spark
    return build_spark(
        "jude",
        master=chosen.master,
        driver_memory=chosen.driver_memory,
        shuffle_partitions=chosen.shuffle_partitions,
        extra=chosen.extra,
    )


def reporting(report: Callable[[Applied], None], metrics: Metrics | None) -> Callable[[Applied], None]:
    """Report a committed batch to its reader and to Prometheus."""
    if metrics is None:
        return report

    def both(applied: Applied) -> None:
        metrics.add_batch(applied.txn.version, applied.counts, applied.seconds, applied.freshness)
        report(applied)

    return both


def _listener(metrics: Metrics) -> StreamingQueryListener:
    from jude.stream.listener import ProgressListener

    return ProgressListener(metrics)


def log_batch(applied: Applied) -> None:
    """One structured line per entity type of a committed batch."""
    for entity_type, counts in applied.counts.items():
        if not counts.events_in:
            continue
        log_event(
            log, logging.INFO, "batch committed", batch=applied.txn.version, entity_type=entity_type or "unknown",
            events_in=counts.events_in, changed=counts.changed, inferences=counts.inferences,
            unchanged=counts.unchanged, quarantined=counts.quarantined, batch_seconds=sum(applied.seconds.values()),
        )  # fmt: skip
