"""A real server on a real port of this machine, on a thread of its own; models that do as a test wants."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import grpc
import numpy as np
from numpy.typing import NDArray

from jude.cli.serve import specs_of
from jude.encoder import Encoder, EncoderSpec
from jude.serving.client import EmbeddingClient, ServerAddress
from jude.serving.models import LoadedModel, open_model
from jude.serving.server import Server
from jude.settings import Settings, load_settings

PROJECT = Path(__file__).parents[2]
_FREE_PORTS = ("serving.port=0", "serving.metrics_port=0")
_T = TypeVar("_T")


@dataclass
class Watched:
    """An encoder that counts what it computes, and may be slow, broken or stopped."""

    inner: Encoder
    seconds_per_token: float = 0.0
    fails_at: int | None = None  # a token id: a text with it makes the whole call fail
    nan_at: int | None = None  # a token id: a text with it gets NaN
    computed: list[tuple[int, ...]] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    entered: int = 0  # calls, those that wait at the gate included

    def __post_init__(self) -> None:
        self.model_version, self.width = self.inner.model_version, self.inner.width
        self.gate.set()

    def encode(self, token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        self.entered += 1
        self.gate.wait(20)
        time.sleep(self.seconds_per_token * sum(map(len, token_ids)))
        if any(self.fails_at in ids for ids in token_ids):
            raise RuntimeError("a poisoned text")
        self.computed += [tuple(ids) for ids in token_ids]
        vectors = self.inner.encode(token_ids)
        vectors[[row for row, ids in enumerate(token_ids) if self.nan_at in ids]] = np.nan
        return vectors


def until(holds: Callable[[], bool]) -> None:
    """Wait for what another thread is about to do."""
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end, "it did not happen within ten seconds"
        time.sleep(0.002)


def watched(**how: Any) -> Callable[[EncoderSpec], LoadedModel]:
    """Open models as usual, with a watched encoder."""

    def opener(spec: EncoderSpec) -> LoadedModel:
        model = open_model(spec)
        model.encoder = Watched(model.encoder, **how)
        return model

    return opener


@dataclass
class Running:
    """A server that answers."""

    server: Server
    loop: asyncio.AbstractEventLoop
    settings: Settings

    @property
    def address(self) -> ServerAddress:
        return ServerAddress(f"127.0.0.1:{self.server.port}")

    @property
    def encoder(self) -> Any:
        return self.server.shelf.find("").encoder

    def client(self, seconds: float = 10.0) -> EmbeddingClient:
        return EmbeddingClient(self.address, timeout_seconds=seconds)

    def do(self, work: Awaitable[_T]) -> _T:
        """Run a coroutine on the server's own loop."""

        async def awaited() -> _T:
            return await work

        return asyncio.run_coroutine_threadsafe(awaited(), self.loop).result(30)

    def call(self, method: str, data: bytes, timeout: float = 5.0, **more: Any) -> bytes:
        """Send bytes to a unary method. Raises grpc.RpcError."""
        with grpc.insecure_channel(self.address.target, options=[("grpc.max_send_message_length", -1)]) as channel:
            answer: bytes = channel.unary_unary(f"/jude.embedding.v1.EmbeddingService/{method}")(
                data, timeout=timeout, **more
            )
        return answer

    def metric(self, name: str, **labels: str) -> float:
        return self.server.metrics.registry.get_sample_value(f"jude_serving_{name}", labels) or 0.0


def settings_with(*overrides: str) -> Settings:
    return load_settings(PROJECT / "conf/test.yml", [*_FREE_PORTS, "serving.canary_seconds=60.0", *overrides])


@contextmanager
def running(*overrides: str, opener: Callable[[EncoderSpec], LoadedModel] = open_model) -> Iterator[Running]:
    """Start a server with the hashing model; stop it at the end."""
    settings = settings_with(*overrides)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> Server:
        server = Server(settings.serving, opener)
        await server.start(specs_of(settings))
        return server

    try:
        server = asyncio.run_coroutine_threadsafe(start(), loop).result(30)
        up = Running(server, loop, settings)
        try:
            yield up
        finally:
            server.settings = settings_with("serving.drain_seconds=0.2").serving
            up.do(server.drain())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
