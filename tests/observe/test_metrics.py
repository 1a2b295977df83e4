"""What Prometheus reads of a stream."""

from __future__ import annotations

import socket
import urllib.request

import numpy as np
import pytest

from deploy.stack.ports import free_ports
from jude.errors import TerminalEnvironmentError
from jude.observe import BatchCounts, Histogram
from jude.observe.metrics import Metrics, open_metrics
from jude.settings.models import MetricsSettings

HOST = "127.0.0.1"


def test_a_batch_is_counted_and_served() -> None:
    (port,) = free_ports(1)
    metrics = open_metrics(MetricsSettings(port, HOST))
    assert metrics is not None
    fresh = Histogram()
    fresh.add(np.array([0.2, 0.3, 4.0]))
    counts = BatchCounts(events_in=5, unchanged=2, changed=3, inferences=2, already_stored=1, tokens=90)
    metrics.add_batch(7, {"job": counts}, {"plan": 0.1, "encode": 0.4}, {"job": fresh})
    metrics.add_batch(8, {"job": counts}, {"plan": 0.1}, {})
    metrics.set_progress(120, 33.5)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        lines = set(answer.read().decode().splitlines())
    assert {
        'jude_events_total{entity="job",fate="changed"} 6.0',
        'jude_events_total{entity="job",fate="stale"} 0.0',
        'jude_vectors_total{entity="job",kind="inferences"} 4.0',
        'jude_tokens_total{entity="job"} 180.0',
        'jude_stage_seconds_count{stage="plan"} 2.0',
        'jude_freshness_seconds_count{entity="job"} 3.0',
        "jude_last_batch 8.0",
        "jude_offsets_behind 120.0",
        "jude_input_rows_per_second 33.5",
    } <= lines


def test_two_streams_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.add_batch(7, {"job": BatchCounts(tokens=90)}, {}, {})
    assert one.registry.get_sample_value("jude_tokens_total", {"entity": "job"}) == 90
    assert other.registry.get_sample_value("jude_tokens_total", {"entity": "job"}) is None


def test_no_port_is_no_metrics() -> None:
    assert open_metrics(MetricsSettings(None, HOST)) is None


def test_a_taken_port_is_a_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(TerminalEnvironmentError, match=r"metrics\.port"):
            open_metrics(MetricsSettings(taken.getsockname()[1], HOST))
