"""Who is let in: tokens, TLS, client certificates; and nothing secret in the log."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from jude.errors import TerminalEnvironmentError, TerminalSettingsError
from jude.serving.client import EmbeddingClient, Wanted
from jude.serving.refusal import Code, RefusedError
from jude.serving.v1 import embedding_pb2 as pb
from tests.serving.certificates import Authority
from tests.serving.running import Running, running

JOB = Wanted(entity_type="job")
TOKEN, OTHER = "correct-horse-battery", "staple-correct-horse"


def code_of(up: Running, **how: Any) -> Code:
    """The code that one query gets; UNAVAILABLE means that no connection came about."""
    with pytest.raises(RefusedError) as refused:
        EmbeddingClient(replace(up.address, **how), timeout_seconds=0.7).embed("Nurse", JOB)
    return refused.value.code


def works(up: Running, **how: Any) -> bool:
    client = EmbeddingClient(replace(up.address, **how), timeout_seconds=10)
    return client.embed("Nurse", JOB).vectors.shape == (1, 32)


def test_every_method_wants_a_token_and_health_does_not(capfd: pytest.CaptureFixture[str]) -> None:
    with running(f"serving.tokens=[{TOKEN},{OTHER}]") as up:
        assert works(up, token=TOKEN)
        assert works(up, token=OTHER)
        assert code_of(up) is Code.UNAUTHENTICATED
        for wrong in ("wrong-horse-battery", TOKEN[:-1], TOKEN + "x", "ümläut"[1:2] + TOKEN[1:]):
            assert code_of(up, token=wrong.encode("ascii", "replace").decode()) is Code.UNAUTHENTICATED
        for method in ("Embed", "EmbedBatch", "GetModelInfo"):
            with pytest.raises(grpc.RpcError) as refused:
                up.call(method, b"")
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        with pytest.raises(RefusedError, match="Bearer"):
            list(up.client().embed_stream([["Nurse"]], JOB))
        with grpc.insecure_channel(up.address.target) as channel:
            health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        assert health.status == health_pb2.HealthCheckResponse.SERVING
    said = capfd.readouterr()
    assert TOKEN not in said.out + said.err


def test_a_stream_without_a_token_is_refused_before_its_first_message() -> None:
    """Else strangers could hold as many calls open as they like."""
    silence = threading.Event()

    def nothing() -> Iterator[bytes]:
        silence.wait(20)
        yield from ()

    with running(f"serving.tokens=[{TOKEN}]") as up, grpc.insecure_channel(up.address.target) as channel:
        stream = channel.stream_stream("/jude.embedding.v1.EmbeddingService/EmbedStream")
        for requests in (nothing(), iter(())):
            with pytest.raises(grpc.RpcError) as refused:
                list(stream(requests, timeout=5))
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        silence.set()


def test_tokens_are_not_shown_where_settings_are_printed() -> None:
    with running(f"serving.tokens=[{TOKEN}]") as up:
        assert TOKEN not in repr(up.settings)


def test_tls_and_client_certificates(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path), Authority(_folder(tmp_path, "theirs"))
    (cert, key), (client, client_key), (foreign, foreign_key) = (
        ours.issue("server"), ours.issue("client"), theirs.issue("foreign"),
    )  # fmt: skip
    settings = [f"serving.tls.cert_file={cert}", f"serving.tls.key_file={key}"]
    ca = {"tls": True, "ca_file": str(ours.file)}

    with running(*settings) as up:
        assert works(up, **ca)
        assert code_of(up) is Code.UNAVAILABLE  # plain text on a TLS port
        assert code_of(up, tls=True, ca_file=str(theirs.file)) is Code.UNAVAILABLE

    with running(*settings, f"serving.tls.client_ca_file={ours.file}", "serving.health_port=0") as up:
        assert works(up, **ca, cert_file=str(client), key_file=str(client_key))
        assert code_of(up, **ca) is Code.UNAVAILABLE  # no certificate
        assert code_of(up, **ca, cert_file=str(foreign), key_file=str(foreign_key)) is Code.UNAVAILABLE
        with grpc.insecure_channel(f"127.0.0.1:{up.server.health_port}") as channel:  # the kubelet's probe
            probe = health_pb2_grpc.HealthStub(channel)
            assert probe.Check(health_pb2.HealthCheckRequest(), timeout=5).status == 1
            embed = channel.unary_unary("/jude.embedding.v1.EmbeddingService/Embed")
            with pytest.raises(grpc.RpcError) as refused:
                embed(pb.EmbedRequest().SerializeToString(), timeout=5)
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_an_expired_certificate_is_not_believed(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.issue("old", expired=True)

    with running(f"serving.tls.cert_file={cert}", f"serving.tls.key_file={key}") as up:
        assert code_of(up, tls=True, ca_file=str(authority.file)) is Code.UNAVAILABLE


def test_certificates_that_cannot_be_used_stop_the_start(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path), Authority(_folder(tmp_path, "other"))
    (cert, key), (_, wrong_key) = authority.issue("server"), other.issue("server")

    with pytest.raises(TerminalSettingsError, match="cannot be read"), \
         running("serving.tls.cert_file=missing.pem", f"serving.tls.key_file={key}"):  # fmt: skip
        pass
    with pytest.raises(TerminalSettingsError, match="is not PEM"), \
         running(f"serving.tls.cert_file={__file__}", f"serving.tls.key_file={key}"):  # fmt: skip
        pass
    with pytest.raises(TerminalEnvironmentError, match="does not fit its key"), \
         running(f"serving.tls.cert_file={cert}", f"serving.tls.key_file={wrong_key}"):  # fmt: skip
        pass


def _folder(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    return folder
