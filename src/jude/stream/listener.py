"""Spark's own view of a running query, told to Prometheus and to the log."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pyspark.sql.streaming.listener import StreamingQueryListener

from jude.observe import log_event

if TYPE_CHECKING:
    from pyspark.sql.streaming.listener import (
        QueryIdleEvent,
        QueryProgressEvent,
        QueryStartedEvent,
        QueryTerminatedEvent,
    )

    from jude.observe.metrics import Metrics

log = logging.getLogger(__name__)
_BEHIND = "maxOffsetsBehindLatest"


class ProgressListener(StreamingQueryListener):
    """Keeps the gauges of the source; Spark calls it from a thread of its own, after each trigger."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def onQueryStarted(self, event: QueryStartedEvent) -> None:  # noqa: N802 - Spark's name
        """Say that the query runs."""
        log_event(log, logging.INFO, "query_started")

    def onQueryProgress(self, event: QueryProgressEvent) -> None:  # noqa: N802 - Spark's name
        """Note how far the source is ahead."""
        progress = event.progress
        behind = [int(float(source.metrics.get(_BEHIND, 0) or 0)) for source in progress.sources]
        self._metrics.set_progress(sum(behind), float(progress.inputRowsPerSecond or 0.0))

    def onQueryIdle(self, event: QueryIdleEvent) -> None:  # noqa: N802 - Spark's name
        """Nothing is left to read."""
        self._metrics.set_progress(0, 0.0)

    def onQueryTerminated(self, event: QueryTerminatedEvent) -> None:  # noqa: N802 - Spark's name
        """Say that the query ended."""
        log_event(log, logging.INFO, "query_ended")
