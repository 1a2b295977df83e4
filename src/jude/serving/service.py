"""The four methods: admit, tokenise, wait for the vectors, answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import inf
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from jude.encoder import ModelInput
from jude.serving.admission import Gates, check_room, check_size, wait_seconds
from jude.serving.answering import batch_response, error_message, model_info, single_response
from jude.serving.asking import Asked, Prepared, prepare, read_options
from jude.serving.engine import Call, Engine
from jude.serving.lanes import Lane
from jude.serving.metrics import Metrics
from jude.serving.models import Shelf
from jude.serving.refusal import Code, RefusedError
from jude.serving.v1 import embedding_pb2 as pb

_DRAIN_POLL_SECONDS = 0.02
_MOST_BYTES_PER_TOKEN = 8  # of a message: token ids have 4, prose 4 to 6


class Context(Protocol):
    """What the methods use of grpc.aio's context."""

    def time_remaining(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class ServiceLimits:
    """Sizes of one server."""

    gates: Gates
    max_text_bytes: int
    stream_window: int


class EmbeddingService:
    """Answers requests; raises RefusedError, which `jude.serving.wire` turns into a status."""

    def __init__(
        self, shelf: Shelf, engine: Engine, tokenisers: ThreadPoolExecutor, metrics: Metrics, limits: ServiceLimits
    ) -> None:
        self._shelf = shelf
        self._engine = engine
        self._tokenisers = tokenisers
        self._metrics = metrics
        self._limits = limits
        self._waiting_bytes = 0
        self._running = 0
        self._draining = False

    async def drain(self, seconds: float) -> None:
        """Refuse what comes from now on, and wait for what runs; `seconds` at most."""
        self._draining = True
        end = self._engine.clock() + seconds
        while self._running and self._engine.clock() < end:
            await asyncio.sleep(_DRAIN_POLL_SECONDS)

    async def embed(self, request: pb.EmbedRequest, context: Context) -> pb.EmbedResponse:
        """Embed one input."""
        asked = read_options(request.options, self._shelf, Lane.ONLINE)
        prepared, vectors = await self._vectors(asked, [request.input], request.ByteSize(), _time_left(context))
        return single_response(asked, prepared, vectors)

    async def embed_batch(self, request: pb.EmbedBatchRequest, context: Context) -> pb.EmbedBatchResponse:
        """Embed a list."""
        asked = read_options(request.options, self._shelf, Lane.BULK)
        prepared, vectors = await self._vectors(asked, request.inputs, request.ByteSize(), _time_left(context))
        for item in prepared:
            if isinstance(item, RefusedError):
                self._metrics.refusals.labels(item.reason).inc()
        return batch_response(request.id, asked, prepared, vectors)

    async def embed_stream(
        self, requests: AsyncIterator[pb.EmbedBatchRequest], context: Context
    ) -> AsyncIterator[pb.EmbedBatchResponse]:
        """Embed lists as they come; at most `stream_window` of them are read and not yet answered."""
        answers: asyncio.Queue[pb.EmbedBatchResponse | BaseException | None] = asyncio.Queue()
        window = asyncio.Semaphore(self._limits.stream_window)
        reader = asyncio.create_task(self._read_stream(requests, context, window, answers))
        try:
            while (answer := await answers.get()) is not None:
                if isinstance(answer, BaseException):
                    raise answer
                yield answer
                window.release()  # only now: a caller who does not read is not read from
        finally:
            reader.cancel()

    async def get_model_info(self, request: pb.GetModelInfoRequest, context: Context) -> pb.GetModelInfoResponse:
        """Describe the served versions, or the one asked for."""
        versions = self._shelf.versions()
        if request.model:
            wanted = self._shelf.find(request.model)
            versions = [(model, aliases) for model, aliases in versions if model is wanted]
        infos = [model_info(m, aliases, include_tokenizer=request.include_tokenizer) for m, aliases in versions]
        return pb.GetModelInfoResponse(models=infos)

    async def _vectors(
        self, asked: Asked, inputs: Sequence[pb.EmbedInput], size_bytes: int, seconds_left: float
    ) -> tuple[Prepared, NDArray[np.float32]]:
        """Admit, tokenise, admit again, compute: the items and float32 [items, width], NaN where there is no vector."""
        if self._draining:
            raise RefusedError(Code.UNAVAILABLE, "This server is about to stop: ask another.", reason="draining")
        self._running += 1
        try:
            return await self._admitted(asked, inputs, size_bytes, seconds_left)
        finally:
            self._running -= 1

    async def _admitted(
        self, asked: Asked, inputs: Sequence[pb.EmbedInput], size_bytes: int, seconds_left: float
    ) -> tuple[Prepared, NDArray[np.float32]]:
        arrived = self._engine.clock()
        if seconds_left <= 0:
            raise RefusedError(Code.DEADLINE_EXCEEDED, "The deadline had passed on arrival.", reason="expired")
        wait = wait_seconds(asked.lane, self._engine.lanes.queued_tokens, asked.model.tokens_per_second)
        check_size(self._limits.gates, len(inputs), size_bytes, self._waiting_bytes, wait)
        # A full queue is told before tokenising: refusing costs the cores that compute.
        fewest = min(size_bytes // _MOST_BYTES_PER_TOKEN, len(inputs) * asked.model.manifest.max_tokens)
        self._require_room(asked, fewest, seconds_left)
        prepared = await self._prepare(asked, inputs, size_bytes)
        tokenised = self._engine.clock()
        call = Call(asked.model, asked.lane, arrived, arrived + seconds_left)
        call.vectors = np.full((len(prepared), asked.model.width), np.nan, np.float32)
        await self._compute(asked, call, prepared, arrived + seconds_left - tokenised)
        self._time(call, tokenised)
        return prepared, call.vectors

    async def _prepare(self, asked: Asked, inputs: Sequence[pb.EmbedInput], size_bytes: int) -> Prepared:
        self._waiting_bytes += size_bytes
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._tokenisers, prepare, asked, inputs, self._limits.max_text_bytes)
        finally:
            self._waiting_bytes -= size_bytes

    async def _compute(self, asked: Asked, call: Call, prepared: Prepared, seconds_left: float) -> None:
        works = [(row, item.token_ids) for row, item in enumerate(prepared) if isinstance(item, ModelInput)]
        self._require_room(asked, sum(len(ids) for _, ids in works), seconds_left)
        if works:
            await self._engine.compute(call, works)

    def _require_room(self, asked: Asked, tokens: int, seconds_left: float) -> None:
        """The gate of tokens; of the passes under way half is still to come. Raises RefusedError."""
        speed, queued = asked.model.tokens_per_second, self._engine.lanes.queued_tokens
        seconds_left -= self._engine.running_tokens / 2 / speed
        check_room(self._limits.gates, asked.lane, tokens, queued, speed, seconds_left)

    def _time(self, call: Call, tokenised: float) -> None:
        now, lane = self._engine.clock(), call.lane.name.lower()
        started = now if call.started is None else call.started
        for phase, seconds in (
            ("tokenise", tokenised - call.arrived), ("queue", started - tokenised), ("total", now - call.arrived)
        ):  # fmt: skip
            self._metrics.seconds.labels(lane, phase).observe(max(0.0, seconds))

    async def _read_stream(
        self,
        requests: AsyncIterator[pb.EmbedBatchRequest],
        context: Context,
        window: asyncio.Semaphore,
        answers: asyncio.Queue[pb.EmbedBatchResponse | BaseException | None],
    ) -> None:
        """Start every list of a stream as the window allows; put None behind the last answer."""
        try:
            async with asyncio.TaskGroup() as running:
                async for request in requests:
                    await window.acquire()
                    running.create_task(self._answer_list(request, context, answers))
            answers.put_nowait(None)
        except Exception as error:
            answers.put_nowait(error)

    async def _answer_list(
        self,
        request: pb.EmbedBatchRequest | None,
        context: Context,
        answers: asyncio.Queue[pb.EmbedBatchResponse | BaseException | None],
    ) -> None:
        """Answer one list of a stream; its refusal is an answer, too."""
        try:
            if request is None:
                raise RefusedError(Code.INVALID_ARGUMENT, "The message is no EmbedBatchRequest.", reason="malformed")
            answers.put_nowait(await self.embed_batch(request, context))
        except RefusedError as refused:
            self._metrics.refusals.labels(refused.reason).inc()
            answers.put_nowait(pb.EmbedBatchResponse(id=request.id if request else 0, error=error_message(refused)))


def _time_left(context: Context) -> float:
    remaining = context.time_remaining()
    return inf if remaining is None else remaining
