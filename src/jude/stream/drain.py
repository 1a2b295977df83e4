"""Stop a stream without cutting a batch in two: finish the batch, commit, then end."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any, ClassVar

from pyspark.errors import StreamingQueryException
from pyspark.sql import SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from jude.errors import JudeError

_SPARK_LOGGER = "org.apache.spark.sql.execution.streaming.runtime.MicroBatchExecution"


class DrainedError(JudeError):
    """Raised in place of the first batch after a stop was asked for: that batch is replayed at the next start."""


class Drain:
    """Asks a stream to stop at the next batch boundary."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._jvm: Any = None
        self.failure: JudeError | None = None  # what ended the last batch, as it was raised

    @property
    def asked(self) -> bool:
        return self._asked.is_set()

    def ask(self) -> None:
        self._asked.set()

    def wait(self, seconds: float) -> None:
        """Wait this long, or until a stop is asked for."""
        self._asked.wait(seconds)

    def between_batches(self) -> None:
        """Called at the start of each batch, and of each further attempt at one."""
        if self.asked:
            self._quieten_spark()
            raise DrainedError("the stream was asked to stop; this batch is replayed at the next start")

    def on_sigterm(self, spark: SparkSession) -> None:
        """Ask on SIGTERM and Ctrl-C, whichever process of the pair (Python, JVM) receives it."""
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, self._handle)
        jvm: Any = spark.sparkContext._jvm
        self._jvm = jvm
        from pyspark import java_gateway

        start_callbacks: Any = java_gateway.ensure_callback_server_started
        start_callbacks(spark.sparkContext._gateway)
        jvm.sun.misc.Signal.handle(jvm.sun.misc.Signal("TERM"), _JvmHandler(self))

    def _quieten_spark(self) -> None:
        """Spark logs what ends a query with two stack traces of 60 lines; this end is no error."""
        if self._jvm is not None:
            log4j = self._jvm.org.apache.logging.log4j
            log4j.core.config.Configurator.setLevel(_SPARK_LOGGER, log4j.Level.OFF)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        self.ask()


class _JvmHandler:
    """Under spark-submit the JVM is the parent and gets the signal."""

    def __init__(self, drain: Drain) -> None:
        self._drain = drain

    def handle(self, received: object) -> None:
        self._drain.ask()

    class Java:
        implements: ClassVar = ["sun.misc.SignalHandler"]


def wait_for(query: StreamingQuery, drain: Drain, drain_after_seconds: float | None = None) -> None:
    """Wait until the query ends by itself or was drained.

    Raises the query's own error when it failed.
    """
    began = time.monotonic()
    try:
        while not query.awaitTermination(1):
            if drain_after_seconds is not None and time.monotonic() - began > drain_after_seconds:
                drain.ask()
            if drain.asked and not query.status["isTriggerActive"]:
                query.stop()
    except StreamingQueryException:
        if drain.asked and isinstance(drain.failure, DrainedError):
            return
        if drain.failure is not None:  # Spark gives its text only, inside two stack traces
            raise drain.failure from None
        raise
