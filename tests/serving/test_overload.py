"""Too much to do: refuse at once, drop what nobody waits for, and let queries through a flood of bulk work."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray

from jude.encoder import EncoderSpec
from jude.encoder.protocol import ModelInput
from jude.serving.apart import usable_cores
from jude.serving.client import Embeddings, Wanted
from jude.serving.lanes import Lane
from jude.serving.models import LoadedModel, open_model
from jude.serving.refusal import Code, RefusedError
from jude.serving.v1 import embedding_pb2 as pb
from jude.serving.wire_status import DETAILS_KEY, PUSHBACK_KEY
from tests.serving.running import Running, Watched, running, until, watched

# At warm-up 1,000 tokens a second, so a pass of 100 ms takes 100 tokens, and a queue of 0.2 s 200.
SLOW = 0.001
JOB = Wanted(entity_type="job")


class Held:
    """A server whose model is stopped, with one query in it; whatever comes waits."""

    def __init__(self, up: Running) -> None:
        self.up = up
        self.threads = ThreadPoolExecutor(16)
        up.encoder.gate.clear()
        up.encoder.computed.clear()
        before = up.encoder.entered
        self.first = self.ask([99])
        until(lambda: up.encoder.entered > before)

    def ask(self, ids: list[int], lane: Lane = Lane.ONLINE, seconds: float = 10.0) -> Future[Embeddings]:
        wanted = Wanted(entity_type="job", lane=lane)
        return self.threads.submit(lambda: self.up.client(seconds).embed_batch([ids], wanted))

    def queued(self, lane: Lane) -> int:
        return self.up.server.engine.lanes.queued_tokens[lane]

    def let_go(self) -> None:
        self.up.encoder.gate.set()


def overload_code(up: Running, method: str, request: pb.EmbedRequest | pb.EmbedBatchRequest) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as refused:
        up.call(method, request.SerializeToString())
    return refused.value


def test_a_full_queue_refuses_text_list_and_stream_alike_and_says_when_to_come_back() -> None:
    with running("serving.online_queue_seconds=0.2", opener=watched(seconds_per_token=SLOW)) as up:
        held = Held(up)
        waiting = held.ask([1] * 150)
        until(lambda: held.queued(Lane.ONLINE) == 150)
        options = pb.EmbedOptions(entity_type="job", lane=pb.LANE_ONLINE)
        item = pb.EmbedInput(token_ids=b"\1\0\0\0" * 150)

        single = overload_code(up, "Embed", pb.EmbedRequest(input=item, options=options))
        listed = overload_code(up, "EmbedBatch", pb.EmbedBatchRequest(inputs=[item], options=options))
        streamed = dict(up.client().embed_stream([[[1] * 150]], Wanted(entity_type="job", lane=Lane.ONLINE)))[0]

        for refused in (single, listed):
            metadata = dict(refused.trailing_metadata())
            assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert int(metadata[PUSHBACK_KEY]) > 0
            assert DETAILS_KEY in metadata
        assert isinstance(streamed, RefusedError)
        assert streamed.code is Code.RESOURCE_EXHAUSTED
        assert streamed.retry_after_seconds
        assert up.metric("refusals_total", reason="queue_full") == 3
        held.let_go()
        assert waiting.result().tokens == [150]


def test_the_client_comes_back_when_there_is_room() -> None:
    with running("serving.online_queue_seconds=0.2", opener=watched(seconds_per_token=SLOW)) as up:
        held = Held(up)
        waiting = held.ask([1] * 150)
        until(lambda: held.queued(Lane.ONLINE) == 150)
        refused_first = held.ask([2] * 150)
        until(lambda: up.metric("refusals_total", reason="queue_full") > 0)
        held.let_go()

        assert [waiting.result().tokens, refused_first.result().tokens] == [[150], [150]]


def test_what_cannot_be_done_before_its_deadline_is_refused_and_not_computed() -> None:
    with running(opener=watched(seconds_per_token=SLOW)) as up:
        request = pb.EmbedRequest(
            input=pb.EmbedInput(token_ids=b"\1\0\0\0" * 200), options=pb.EmbedOptions(entity_type="job")
        )
        up.encoder.computed.clear()

        with pytest.raises(grpc.RpcError) as refused:
            up.call("Embed", request.SerializeToString(), timeout=0.1)

        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert up.encoder.computed == []


def test_a_deadline_that_has_passed_on_arrival_is_told_and_nothing_is_computed() -> None:
    class TooLate:
        def time_remaining(self) -> float:
            return -0.001

    request = pb.EmbedRequest(input=pb.EmbedInput(text="Nurse"), options=pb.EmbedOptions(entity_type="job"))
    with running(opener=watched()) as up:
        up.encoder.computed.clear()

        with pytest.raises(RefusedError) as refused:
            up.do(up.server._service.embed(request, TooLate()))

        assert refused.value.code is Code.DEADLINE_EXCEEDED
        assert up.encoder.computed == []


def test_cancelled_work_is_never_computed() -> None:
    with running(opener=watched()) as up:
        held = Held(up)
        channel = grpc.insecure_channel(up.address.target)
        method = channel.unary_unary("/jude.embedding.v1.EmbeddingService/Embed")
        request = pb.EmbedRequest(
            input=pb.EmbedInput(token_ids=b"\7\0\0\0"), options=pb.EmbedOptions(entity_type="job")
        )
        call = method.future(request.SerializeToString(), timeout=10)
        until(lambda: held.queued(Lane.ONLINE) == 1)

        call.cancel()
        until(lambda: held.queued(Lane.ONLINE) == 0)
        held.let_go()
        held.first.result()
        up.client().embed([5], JOB)

        assert up.encoder.computed == [(99,), (5,)]
        assert up.metric("dropped_total", reason="cancelled") == 1
        channel.close()


def test_expired_work_is_never_computed() -> None:
    with running(opener=watched()) as up:
        held = Held(up)
        late = held.ask([7], seconds=0.3)
        with pytest.raises(RefusedError) as refused:
            late.result()
        held.let_go()
        held.first.result()
        up.client().embed([5], JOB)

        assert refused.value.code is Code.DEADLINE_EXCEEDED
        assert up.encoder.computed == [(99,), (5,)]


def test_a_stream_reset_in_the_middle_leaves_nothing_to_compute() -> None:
    with running(opener=watched()) as up:
        held = Held(up)
        stop = threading.Event()

        def lists() -> object:
            for number in range(4):
                yield pb.EmbedBatchRequest(
                    id=number,
                    inputs=[pb.EmbedInput(token_ids=b"\7\0\0\0")],
                    options=pb.EmbedOptions(entity_type="job"),
                ).SerializeToString()
            stop.wait(10)

        channel = grpc.insecure_channel(up.address.target)
        call = channel.stream_stream("/jude.embedding.v1.EmbeddingService/EmbedStream")(lists())
        until(lambda: held.queued(Lane.BULK) == 4)
        call.cancel()
        stop.set()
        until(lambda: held.queued(Lane.BULK) == 0)
        held.let_go()
        held.first.result()

        assert up.encoder.computed == [(99,)]
        channel.close()


def test_a_stream_is_read_no_further_than_its_window() -> None:
    with running("serving.stream_window=3", opener=watched()) as up:
        held = Held(up)
        answers = held.threads.submit(lambda: dict(up.client().embed_stream([[[7]]] * 10, JOB)))
        until(lambda: held.queued(Lane.BULK) == 3)
        up.do(asyncio.sleep(0.05))

        assert held.queued(Lane.BULK) == 3
        held.let_go()
        assert len(answers.result()) == 10


class TwoCores(Watched):
    """Runs passes side by side, as a model on two cores does; the first two of them wait for each other."""

    side_by_side = 2
    most = now = passes = 0
    meet = threading.Barrier(2)

    def encode_on_one_core(self, token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        self.passes, self.now = self.passes + 1, self.now + 1
        self.most = max(self.most, self.now)
        if self.passes <= 2:
            self.meet.wait(10)
        vectors = self.encode(token_ids)
        self.now -= 1
        return vectors


@pytest.mark.skipif(usable_cores() < 2, reason="one core has one worker")
def test_a_model_on_two_cores_computes_two_passes_at_once_unless_one_has_all_cores() -> None:
    def opener(spec: EncoderSpec) -> LoadedModel:
        model = open_model(spec)
        model.encoder = TwoCores(model.encoder, seconds_per_token=SLOW)  # so that every text is a pass of its own
        return model

    with running(opener=opener) as up:
        held = Held(up)
        asked = [held.ask([number + 1] * 60) for number in range(4)]
        until(lambda: held.queued(Lane.ONLINE) == 240)
        assert up.encoder.passes == 0  # the first query was alone and has all cores

        held.let_go()
        assert all(future.result().errors == [None] for future in asked)
        assert up.encoder.most == 2


def test_a_flood_of_bulk_work_does_not_keep_a_query_waiting() -> None:
    with running(opener=watched(seconds_per_token=SLOW)) as up:
        held = Held(up)
        flood = [held.ask([1] * 90, Lane.BULK) for _ in range(8)]
        until(lambda: held.queued(Lane.BULK) == 8 * 90)
        query = held.ask([5] * 20)
        until(lambda: held.queued(Lane.ONLINE) == 20)
        held.let_go()
        query.result()
        for bulk in flood:
            bulk.result()

        assert up.encoder.computed.index((5,) * 20) == 1  # right behind the pass that was running


def test_tokenising_does_not_hold_up_anybody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    with running(opener=watched()) as up:
        model, gate, entered = up.server.shelf.find(""), threading.Event(), threading.Event()
        inner = model.tokeniser.inputs

        def slow_inputs(entity_type: str, texts: Sequence[str]) -> list[ModelInput]:
            entered.set()
            gate.wait(10)
            return inner(entity_type, texts)

        monkeypatch.setattr(model.tokeniser, "inputs", slow_inputs)
        with ThreadPoolExecutor(1) as threads:
            text = threads.submit(up.client().embed, "Nurse", JOB)
            entered.wait(10)

            assert up.client().embed([5], JOB).tokens == [1]
            assert not text.done()
            gate.set()
            assert text.result().tokens == [1]
