"""Call an embedding server: numpy in, numpy out, again where that is safe.

    client = EmbeddingClient(ServerAddress("dns:///embeddings:50051"))
    found = client.embed_batch(["Nurse", "Welder"], Wanted(entity_type="job"))
    found.vectors                                          # float32 [2, width]

Needs grpc and numpy; no torch.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.message import Message

from jude.serving.address import ServerAddress
from jude.serving.channel import async_channel, metadata, shared_channel
from jude.serving.embeddings import (
    Content,
    Embeddings,
    Wanted,
    input_of,
    options_of,
    read_answer,
    read_batch,
    read_single,
)
from jude.serving.refusal import RefusedError
from jude.serving.retrying import pause_before_retry, refusal_of
from jude.serving.v1 import embedding_pb2 as pb

_SERVICE: Final = pb.DESCRIPTOR.services_by_name["EmbeddingService"].full_name
_T = TypeVar("_T")

__all__ = ["AsyncEmbeddingClient", "EmbeddingClient", "Embeddings", "ServerAddress", "Wanted"]


class EmbeddingClient:
    """A caller that waits. Threads may share it; all clients of a process and address share one connection."""

    def __init__(self, address: ServerAddress, *, timeout_seconds: float = 30.0) -> None:
        """`timeout_seconds` bounds every call, all its tries together."""
        self._timeout_seconds = timeout_seconds
        self._metadata = metadata(address)
        self._methods = _Methods(shared_channel(address))

    def embed(self, content: Content, wanted: Wanted = Wanted()) -> Embeddings:  # noqa: B008  frozen
        """Embed one text, or its token ids. Raises RefusedError."""
        request = pb.EmbedRequest(input=input_of(content), options=options_of(wanted))
        return read_single(self._call(self._methods.embed, request))

    def embed_batch(self, contents: Sequence[Content], wanted: Wanted = Wanted()) -> Embeddings:  # noqa: B008 - frozen
        """Embed a list; items without a vector have NaN and their error. Raises RefusedError for the list as such."""
        return read_batch(self._call(self._methods.embed_batch, _batch(0, contents, wanted)))

    def embed_stream(
        self,
        lists: Iterable[Sequence[Content]],
        wanted: Wanted = Wanted(),  # noqa: B008 - frozen
    ) -> Iterator[tuple[int, Embeddings | RefusedError]]:
        """Embed many lists over one stream: (number of the list, answer or refusal), as they are ready.

        Nothing is tried again. Raises RefusedError when the stream itself breaks.
        """
        requests = (_batch(number, contents, wanted) for number, contents in enumerate(lists))
        try:
            for response in self._methods.embed_stream(
                requests, timeout=self._timeout_seconds, metadata=self._metadata
            ):
                yield response.id, read_answer(response)
        except grpc.RpcError as error:
            raise refusal_of(error) from error

    def info(self, model: str = "", *, include_tokenizer: bool = False) -> list[pb.ModelInfo]:
        """Describe the model versions served, or one of them. Raises RefusedError."""
        request = pb.GetModelInfoRequest(model=model, include_tokenizer=include_tokenizer)
        return list(self._call(self._methods.info, request).models)

    def _call(self, method: Callable[..., _T], request: Message) -> _T:
        deadline = time.monotonic() + self._timeout_seconds
        attempt = 0
        while True:
            left = max(0.0, deadline - time.monotonic())
            try:
                return method(request, timeout=left, metadata=self._metadata)
            except grpc.RpcError as error:
                refused = refusal_of(error)
                pause = pause_before_retry(refused, attempt, deadline - time.monotonic(), random.random)
                if pause is None:
                    raise refused from error
            time.sleep(pause)
            attempt += 1


class AsyncEmbeddingClient:
    """The same for asyncio. Belongs to the event loop it is made in; close it, or use `async with`."""

    def __init__(self, address: ServerAddress, *, timeout_seconds: float = 30.0) -> None:
        """`timeout_seconds` bounds every call, all its tries together."""
        self._timeout_seconds = timeout_seconds
        self._metadata = metadata(address)
        self._channel = async_channel(address)
        self._methods = _Methods(self._channel)

    async def __aenter__(self) -> AsyncEmbeddingClient:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()

    async def embed(self, content: Content, wanted: Wanted = Wanted()) -> Embeddings:  # noqa: B008 - frozen
        """Embed one text, or its token ids. Raises RefusedError."""
        request = pb.EmbedRequest(input=input_of(content), options=options_of(wanted))
        return read_single(await self._call(self._methods.embed, request))

    async def embed_batch(self, contents: Sequence[Content], wanted: Wanted = Wanted()) -> Embeddings:  # noqa: B008 - frozen
        """Embed a list; items without a vector have NaN and their error. Raises RefusedError for the list as such."""
        return read_batch(await self._call(self._methods.embed_batch, _batch(0, contents, wanted)))

    async def embed_stream(
        self,
        lists: Iterable[Sequence[Content]],
        wanted: Wanted = Wanted(),  # noqa: B008 - frozen
    ) -> AsyncIterator[tuple[int, Embeddings | RefusedError]]:
        """Embed many lists over one stream, as the other client does."""
        requests = (_batch(number, contents, wanted) for number, contents in enumerate(lists))
        try:
            async for response in self._methods.embed_stream(
                requests, timeout=self._timeout_seconds, metadata=self._metadata
            ):
                yield response.id, read_answer(response)
        except grpc.RpcError as error:
            raise refusal_of(error) from error

    async def info(self, model: str = "", *, include_tokenizer: bool = False) -> list[pb.ModelInfo]:
        """Describe the model versions served, or one of them. Raises RefusedError."""
        request = pb.GetModelInfoRequest(model=model, include_tokenizer=include_tokenizer)
        return list((await self._call(self._methods.info, request)).models)

    async def _call(self, method: Callable[..., Awaitable[_T]], request: Message) -> _T:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout_seconds
        attempt = 0
        while True:
            left = max(0.0, deadline - loop.time())
            try:
                return await method(request, timeout=left, metadata=self._metadata)
            except grpc.RpcError as error:
                refused = refusal_of(error)
                pause = pause_before_retry(refused, attempt, deadline - loop.time(), random.random)
                if pause is None:
                    raise refused from error
            await asyncio.sleep(pause)
            attempt += 1


class _Methods:
    """The four methods over one connection, sync or async."""

    def __init__(self, channel: Any) -> None:  # noqa: ANN401  grpc ships no types
        def unary(name: str, answer: type[Message]) -> Any:  # noqa: ANN401 - gRPC's
            return channel.unary_unary(f"/{_SERVICE}/{name}", _written, answer.FromString)

        self.embed = unary("Embed", pb.EmbedResponse)
        self.embed_batch = unary("EmbedBatch", pb.EmbedBatchResponse)
        self.info = unary("GetModelInfo", pb.GetModelInfoResponse)
        self.embed_stream = channel.stream_stream(
            f"/{_SERVICE}/EmbedStream", _written, pb.EmbedBatchResponse.FromString
        )


def _written(message: Message) -> bytes:
    return message.SerializeToString()


def _batch(number: int, contents: Sequence[Content], wanted: Wanted) -> pb.EmbedBatchRequest:
    return pb.EmbedBatchRequest(id=number, inputs=map(input_of, contents), options=options_of(wanted))
