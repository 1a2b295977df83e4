"""What the server tells Prometheus. Every server has a registry of its own, so that several can run in one process."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from jude.errors import TerminalEnvironmentError
from jude.serving.lanes import Lane, TwoLanes

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SHARES = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0)


class Metrics:
    """The counters of one server. Label values are words of this code, never anything a caller sent."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._counter("requests", "Finished calls by method and status code.", "method", "code")
        self.refusals = self._counter("refusals", "Requests and items that got no vector, by reason.", "reason")
        self.dropped = self._counter("dropped", "Requests given up before they were computed.", "reason")
        self.tokens = self._counter("tokens", "Tokens computed.", "lane")
        self.texts = self._counter("texts", "Texts computed.", "lane")
        self.passes = self._counter("passes", "Forward passes.")
        self.nan = self._counter("nan_items", "Items whose vector was not finite, or that alone made the model fail.")
        self.seconds = Histogram(
            "jude_serving_seconds",
            "Seconds by lane and phase: tokenise, queue, compute, total.",
            ("lane", "phase"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.fill = Histogram(
            "jude_serving_pass_fill", "Tokens of a pass over its budget.", buckets=_SHARES, registry=self.registry
        )
        self.padding = Gauge(
            "jude_serving_padding_share", "Share of the last pass that was padding.", registry=self.registry
        )
        self.model = Gauge(
            "jude_serving_model", "1 for every model served.", ("model_version", "alias"), registry=self.registry
        )
        self.canary = Gauge("jude_serving_canary_ok", "1 while the known text has its vector.", registry=self.registry)

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"jude_serving_{name}", what, labels, registry=self.registry)

    def watch(self, lanes: TwoLanes) -> None:
        """Report what waits at the moment of asking; the autoscaler reads it."""
        self.registry.register(_Queue(lanes))

    def serves(self, versions: Iterable[tuple[str, str]]) -> None:
        """Name the (model version, alias) pairs that are served now."""
        self.model.clear()
        for version, alias in versions:
            self.model.labels(version, alias).set(1)

    def listen(self, host: str, port: int) -> int:
        """Serve /metrics; gives the port. Raises TerminalEnvironmentError when it is in use."""
        try:
            server, _ = start_http_server(port, host, self.registry)
        except OSError as error:
            raise TerminalEnvironmentError(
                f"serving.metrics_port {port} of {host} cannot be opened ({error.strerror}). "
                "Free it, or set another one."
            ) from error
        return int(server.server_port)


class _Queue(Collector):
    def __init__(self, lanes: TwoLanes) -> None:
        self._lanes = lanes

    def collect(self) -> Iterable[GaugeMetricFamily]:
        waiting = GaugeMetricFamily("jude_serving_queued_tokens", "Tokens that wait for a pass.", labels=("lane",))
        for lane in Lane:
            waiting.add_metric((lane.name.lower(),), self._lanes.queued_tokens[lane])
        return (waiting,)
