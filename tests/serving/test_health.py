"""Green means that the model gave a known text its vector; drain, ports, metrics, reflection."""

from __future__ import annotations

import logging
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from jude.errors import TerminalEnvironmentError
from jude.serving.client import Wanted
from jude.serving.refusal import Code, RefusedError
from jude.serving.wire import SERVICE
from tests.serving.running import Running, running, watched
from tests.serving.test_overload import Held

JOB = Wanted(entity_type="job")
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def health(up: Running) -> list[int]:
    with grpc.insecure_channel(up.address.target) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        return [check(health_pb2.HealthCheckRequest(service=name), timeout=5).status for name in ("", SERVICE)]


def test_health_follows_the_model() -> None:
    with running(opener=watched()) as up:
        assert health(up) == [SERVING, SERVING]

        up.encoder.nan_at = up.server.shelf.find("").canary_ids[0][0]
        assert up.do(up.server.health.check()) is False
        assert health(up) == [NOT_SERVING, NOT_SERVING]
        assert up.metric("canary_ok") == 0

        up.encoder.nan_at = None
        assert up.do(up.server.health.check()) is True
        assert health(up) == [SERVING, SERVING]


def test_a_drain_ends_what_runs_and_takes_nothing_new() -> None:
    with running(opener=watched()) as up:
        held = Held(up)
        with ThreadPoolExecutor(1) as threads:
            drained = threads.submit(up.do, up.server.drain())
            with pytest.raises(RefusedError) as refused:
                up.client(0.5).embed([5], JOB)
            held.let_go()

            assert refused.value.code is Code.UNAVAILABLE
            assert held.first.result().tokens == [1]
            drained.result()


def test_metrics_tell_what_waits_and_what_was_done(up: Running) -> None:
    up.client().embed("Nurse", JOB)
    with urllib.request.urlopen(f"http://127.0.0.1:{up.server.metrics_port}/metrics", timeout=5) as page:
        said = page.read().decode()

    version = up.server.shelf.find("").model_version
    for line in (
        'jude_serving_queued_tokens{lane="online"} 0.0',
        f'jude_serving_model{{alias="current",model_version="{version}"}} 1.0',
        'jude_serving_seconds_count{lane="online",phase="queue"}',
        "jude_serving_pass_fill_bucket",
    ):
        assert line in said
    assert "Nurse" not in said


def test_a_stranger_finds_the_methods_by_reflection(up: Running) -> None:
    ask = reflection_pb2.ServerReflectionRequest
    with grpc.insecure_channel(up.address.target) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        listed, described = stub.ServerReflectionInfo(
            iter([ask(list_services=""), ask(file_containing_symbol=SERVICE)]), timeout=5
        )

    assert SERVICE in [service.name for service in listed.list_services_response.service]
    assert b"entity_type" in b"".join(described.file_descriptor_response.file_descriptor_proto)


def test_a_port_in_use_stops_the_start(up: Running) -> None:
    for key, port in (("port", up.server.port), ("metrics_port", up.server.metrics_port)):
        with pytest.raises(TerminalEnvironmentError, match=f"serving.{key}"), running(f"serving.{key}={port}"):
            pass


def test_the_log_has_the_phases_of_the_start_and_no_text(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("jude").propagate = True
    with caplog.at_level(logging.DEBUG, "jude"), running() as up:
        up.client().embed("a secret sentence", JOB)
        with pytest.raises(RefusedError):
            up.client().embed("a secret sentence", Wanted(entity_type="ghost"))

    ready = next(vars(record)["facts"] for record in caplog.records if record.msg == "model ready")
    assert {"load_seconds", "warm_up_seconds", "pass_tokens", "tokens_per_second"} <= ready.keys()
    assert "secret" not in caplog.text + str([vars(record) for record in caplog.records])
