"""Prometheus metrics of a running stream. Labels hold entity types and stages, never an id or a text."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

from jude.errors import TerminalEnvironmentError
from jude.observe.freshness import GROWTH, SMALLEST_SECONDS, Histogram
from jude.observe.ledger import BatchCounts

if TYPE_CHECKING:
    from jude.settings import MetricsSettings

FATES: Final = ("quarantined", "superseded", "stale", "unchanged", "deleted", "changed")
VECTORS: Final = ("duplicate_in_batch", "already_stored", "inferences", "inferences_repeated")
_FRESHNESS_EDGES: Final = tuple(round(SMALLEST_SECONDS * GROWTH**exponent, 4) for exponent in range(40, 140, 5))


class Metrics:
    """What a stream tells Prometheus, in a registry of its own."""

    def __init__(self) -> None:
        """Raises TerminalEnvironmentError where prometheus-client is missing."""
        try:
            import prometheus_client as prometheus
        except ImportError as error:
            missing = "The package prometheus-client is missing: pip install 'jude[live]', or set metrics.port to null."
            raise TerminalEnvironmentError(missing) from error
        self.registry = registry = prometheus.CollectorRegistry()
        counter, gauge = partial(prometheus.Counter, registry=registry), partial(prometheus.Gauge, registry=registry)
        self._events = counter("jude_events", "Events by what became of them", ["entity", "fate"])
        self._vectors = counter("jude_vectors", "Changes by where the vector is from", ["entity", "kind"])
        self._tokens = counter("jude_tokens", "Tokens that the model read", ["entity"])
        self._stages = prometheus.Summary(
            "jude_stage_seconds", "Seconds per stage of a batch", ["stage"], registry=registry
        )
        self._fresh = prometheus.Histogram(
            "jude_freshness_seconds", "Commit in the database to readable online", ["entity"],
            buckets=_FRESHNESS_EDGES, registry=registry,
        )  # fmt: skip
        self._batch = gauge("jude_last_batch", "Number of the newest committed batch")
        self._at = gauge("jude_last_batch_timestamp_seconds", "When it was committed")
        self._behind = gauge("jude_offsets_behind", "Records that the source holds and we have not read")
        self._rate = gauge("jude_input_rows_per_second", "Records read per second, by Spark's own count")

    def add_batch(
        self, number: int, counts: Mapping[str, BatchCounts], seconds: Mapping[str, float],
        freshness: Mapping[str, Histogram],
    ) -> None:  # fmt: skip
        """Count a committed batch."""
        for entity, count in counts.items():
            for fate in FATES:
                self._events.labels(entity, fate).inc(getattr(count, fate))
            for kind in VECTORS:
                self._vectors.labels(entity, kind).inc(getattr(count, kind))
            self._tokens.labels(entity).inc(count.tokens)
        for stage, took in seconds.items():
            self._stages.labels(stage).observe(took)
        for entity, histogram in freshness.items():
            for value, times in histogram.values():
                for _ in range(times):
                    self._fresh.labels(entity).observe(value)
        self._batch.set(number)
        self._at.set_to_current_time()

    def set_progress(self, offsets_behind: int, input_rows_per_second: float) -> None:
        """Note what Spark says of its source."""
        self._behind.set(offsets_behind)
        self._rate.set(input_rows_per_second)

    def serve(self, host: str, port: int) -> None:
        """Answer on http://host:port/metrics, in a thread of its own. Raises OSError for a port that is taken."""
        import prometheus_client

        self._server, self._thread = prometheus_client.start_http_server(port, addr=host, registry=self.registry)

    def close(self) -> None:
        """Give the port back: this process may run another stream. Only after `serve`."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def open_metrics(settings: MetricsSettings) -> Metrics | None:
    """Serve metrics where a port is configured. Raises TerminalEnvironmentError."""
    if settings.port is None:
        return None
    metrics = Metrics()
    try:
        metrics.serve(settings.host, settings.port)
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        raise TerminalEnvironmentError(
            f"Metrics cannot be served on {where} ({error.strerror}): choose another metrics.port."
        ) from error
    return metrics
