"""What arrives on an open port: random bytes, oversize messages, half-open connections, slow readers, idle crowds."""

from __future__ import annotations

import os
import random
import socket
import struct
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from jude.serving.client import Wanted
from jude.serving.refusal import Code, RefusedError
from jude.serving.v1 import embedding_pb2 as pb
from tests.serving.running import Running, running

JOB = Wanted(entity_type="job")
METHODS = ("Embed", "EmbedBatch", "GetModelInfo")
_HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@pytest.fixture(scope="module")
def attacked() -> object:
    """A server of its own: it must still answer after every test."""
    with running("serving.max_message_bytes=1000000", "serving.max_text_bytes=100000") as server:
        yield server
        assert server.client().embed("Nurse", JOB).vectors.shape == (1, 32)


def memory_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_random_bytes_at_every_method(attacked: Running) -> None:
    rng = random.Random(7)
    codes = set()
    with grpc.insecure_channel(attacked.address.target) as channel:
        methods = [channel.unary_unary(f"/jude.embedding.v1.EmbeddingService/{name}") for name in METHODS]
        stream = channel.stream_stream("/jude.embedding.v1.EmbeddingService/EmbedStream")
        for _ in range(300):
            data = rng.randbytes(rng.choice((1, 2, 5, 20, 200)))
            try:
                rng.choice(methods)(data, timeout=5)
                codes.add(grpc.StatusCode.OK)
            except grpc.RpcError as error:
                codes.add(error.code())
        answers = [pb.EmbedBatchResponse.FromString(a) for a in stream(iter([b"\xff\xff", b"", b"\x12"]), timeout=5)]

    assert codes <= {
        grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION,
    }  # fmt: skip
    assert [answer.error.code for answer in answers] == [3, 3, 3]


def test_text_that_is_not_utf_8_is_the_callers_mistake(attacked: Running) -> None:
    request = pb.EmbedRequest(input=pb.EmbedInput(text="????"), options=pb.EmbedOptions(entity_type="job"))

    with pytest.raises(grpc.RpcError) as refused:
        attacked.call("Embed", request.SerializeToString().replace(b"????", b"\xff\xfe\x80\xc0"))

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_messages_and_texts_that_are_too_large(attacked: Running) -> None:
    def code(characters: int) -> grpc.StatusCode:
        request = pb.EmbedRequest(
            input=pb.EmbedInput(text="x" * characters), options=pb.EmbedOptions(entity_type="job")
        )
        with pytest.raises(grpc.RpcError) as refused:
            attacked.call("Embed", request.SerializeToString())
        found: grpc.StatusCode = refused.value.code()
        return found

    assert code(100_001) is grpc.StatusCode.INVALID_ARGUMENT
    assert code(10_000_000) is grpc.StatusCode.RESOURCE_EXHAUSTED  # gRPC's own refusal: it never reached us


def test_an_unknown_method_is_unimplemented(attacked: Running) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        attacked.call("Explode", b"")

    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_half_open_and_broken_connections(attacked: Running) -> None:
    address = ("127.0.0.1", attacked.server.port)
    rng = random.Random(11)
    sockets = [socket.create_connection(address) for _ in range(60)]
    for number, connection in enumerate(sockets):
        sent = (b"", b"GET / HTTP/1.1\r\n\r\n", _HTTP2, _HTTP2 + rng.randbytes(300))[number % 4]
        connection.sendall(sent)
    for number, connection in enumerate(sockets):
        if number % 2:  # a reset instead of a goodbye
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()

    assert attacked.client().embed("Nurse", JOB).tokens == [1]
    for connection in sockets:
        connection.close()


def test_a_crowd_of_idle_connections_goes_and_leaves_no_memory_behind(attacked: Running) -> None:
    address = ("127.0.0.1", attacked.server.port)

    def crowd() -> None:
        sockets = [socket.create_connection(address) for _ in range(1000)]
        for connection in sockets:
            connection.sendall(
                _HTTP2 + b"\0\0\0\4\0\0\0\0\0"
            )  # an empty SETTINGS frame: a client that then says nothing
        assert attacked.client().embed("Nurse", JOB).tokens == [1]
        for connection in sockets:
            connection.close()
        assert attacked.client().embed("Nurse", JOB).tokens == [1]

    crowd()
    before = memory_bytes()
    crowd()
    crowd()

    assert memory_bytes() - before < 60 << 20


def test_a_slow_reader_bounds_what_the_server_works_on(attacked: Running) -> None:
    request = pb.EmbedBatchRequest(
        inputs=[pb.EmbedInput(text=f"text {n}") for n in range(500)], options=pb.EmbedOptions(entity_type="job")
    ).SerializeToString()
    before = attacked.metric("texts_total", lane="bulk")

    with grpc.insecure_channel(attacked.address.target) as channel:
        method = channel.stream_stream("/jude.embedding.v1.EmbeddingService/EmbedStream")
        call = method(iter([request] * 2000), timeout=30)
        first = next(call)
        stands_still(lambda: attacked.metric("texts_total", lane="bulk"))
        computed = attacked.metric("texts_total", lane="bulk") - before
        call.cancel()

    assert len(first) > 500 * 32 * 4
    assert computed < 500 * 500  # of 2000 lists: the window and HTTP/2's flow control hold the rest back


def stands_still(value: Callable[[], float]) -> None:
    last = -1.0
    while last != (last := value()):
        time.sleep(0.1)


def test_many_callers_at_once(attacked: Running) -> None:
    texts = [f"text {n % 50}" for n in range(400)]
    alone = {text: attacked.client().embed(text, JOB).input_hashes[0] for text in set(texts)}

    with ThreadPoolExecutor(32) as threads:
        found = list(threads.map(lambda text: attacked.client(30).embed(text, JOB).input_hashes[0], texts))

    assert found == [alone[text] for text in texts]


def test_a_defect_ends_a_stream_as_it_ends_a_call_and_tells_the_caller_nothing_of_a_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fails(*_: object) -> None:
        raise ValueError("Nurse, who lives in")

    with running() as up:
        monkeypatch.setattr(up.server._service, "_vectors", fails)

        with pytest.raises(RefusedError, match="its log says why") as refused:
            list(up.client().embed_stream([["Nurse"], ["Welder"]], JOB))

        assert refused.value.code is Code.INTERNAL
        assert up.metric("requests_total", method="EmbedStream", code="INTERNAL") == 1
