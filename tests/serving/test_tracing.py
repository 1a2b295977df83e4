"""Spans where they are asked for, children of the caller's; a sentence where the packages are missing."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from jude.errors import TerminalEnvironmentError
from jude.serving.tracing import no_span, open_spans, spans_of

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_call_is_a_span_below_the_callers() -> None:
    memory = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))

    with spans_of(provider)("Embed", (("traceparent", PARENT),)):
        pass

    (span,) = memory.get_finished_spans()
    assert span.name == "jude.embedding.v1/Embed"
    assert span.parent is not None
    assert f"{span.parent.trace_id:032x}" == PARENT.split("-")[1]


def test_nothing_is_traced_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_spans(None) is no_span
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(TerminalEnvironmentError, match="opentelemetry"):
        open_spans("http://localhost:4318/v1/traces")
