"""OpenTelemetry spans, one per call, where they are asked for. Without `serving.trace_endpoint` nothing is imported."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from jude.errors import TerminalEnvironmentError

Span = Callable[[str, Any], AbstractContextManager[object]]
"""Opens the span of one call: method name and the call's metadata, which may carry the caller's `traceparent`."""


def no_span(method: str, metadata: Any) -> AbstractContextManager[object]:  # noqa: ANN401  grpc ships no types
    """Trace nothing."""
    return nullcontext()


def open_spans(endpoint: str | None) -> Span:
    """Send spans to an OTLP address over HTTP; None: none. Raises TerminalEnvironmentError without the packages."""
    if endpoint is None:
        return no_span
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as missing:
        raise TerminalEnvironmentError(
            f"serving.trace_endpoint is set, but the package {missing.name} is not installed. Install it: "
            "pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http; or set it to null."
        ) from missing
    provider = TracerProvider(resource=Resource.create({"service.name": "jude-serving"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    return spans_of(provider)


def spans_of(provider: Any) -> Span:  # noqa: ANN401  opentelemetry is optional
    """Open spans as children of the caller's, if it sent a `traceparent`."""
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    tracer, propagator = provider.get_tracer("jude.serving"), TraceContextTextMapPropagator()

    def span(method: str, metadata: Any) -> AbstractContextManager[object]:  # noqa: ANN401 - gRPC's
        carrier = {key: value for key, value in metadata or () if isinstance(value, str)}
        parent = propagator.extract(carrier)
        found: AbstractContextManager[object] = tracer.start_as_current_span(
            f"jude.embedding.v1/{method}", context=parent, kind=SpanKind.SERVER
        )
        return found

    return span
