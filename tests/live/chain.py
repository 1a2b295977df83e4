"""A stack with a stream of its own under a load, and what can go wrong with it."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg

from deploy.live.compare import wait_until_equal
from deploy.live.source import Record, Source, read_history
from deploy.live.stream import PROJECT, SupervisedStream
from deploy.stack.stack import Stack
from jude.settings import Settings, load_settings

HASHING = ("encoder.kind=hashing", "encoder.width=32")
EQUAL_SECONDS = 120.0


@dataclass
class Load:
    """Plays recorded changes into the database at a rate, and goes on when the database comes back."""

    url: str
    rate: float
    history: list[Record]
    played: int = 0
    failed: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._play, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _play(self) -> None:
        source: Source | None = None
        while not self._stop.is_set():
            try:
                source = source or Source(self.url)
                source.play([self.history[self.played % len(self.history)]])
                self.played += 1
            except psycopg.OperationalError:  # the database was killed: this transaction is lost, as for any client
                self.failed += 1
                source = None
                self._stop.wait(0.2)
            self._stop.wait(1 / self.rate)


def make_history(seed: int) -> list[Record]:
    """The sample's changes from a random place on: texts, skips, deletes, key changes."""
    rows = list(read_history(PROJECT / "data" / "sample"))
    start = random.Random(seed).randrange(len(rows) // 2)
    return rows[start:] + rows[:start]


@contextmanager
def streaming(
    stack: Stack, name: str, overrides: Sequence[str] = HASHING
) -> Iterator[tuple[SupervisedStream, Settings]]:
    """A supervised stream with tables, checkpoint, prefix and topic of its own."""
    work = stack.folder / name
    own = (
        *overrides, f"stream.checkpoint={work}/checkpoint", f"tables.root={work}/tables", f"online.redis.prefix={name}",
        f"output.topic=jude.embeddings.{name}", "log.level=WARNING",
    )  # fmt: skip
    work.mkdir(parents=True, exist_ok=True)
    stream = SupervisedStream(stack.conf, work / "stream.log", own)
    stream.start()
    try:
        yield stream, load_settings(stack.conf, own)
    finally:
        stream.stop()


def assert_equal(stack: Stack, settings: Settings, stream: SupervisedStream) -> int:
    """Wait for everything to agree; give the number of entities."""
    compared = wait_until_equal(stack.database_url, settings, EQUAL_SECONDS, stack.heal)
    assert not compared.differences, (compared.differences, stream.log.read_text(errors="replace")[-3000:])
    return compared.entities


def victims(stack: Stack, stream: SupervisedStream) -> dict[str, Callable[[int], None]]:
    """What a signal can be sent to, by name."""

    def to_service(name: str) -> Callable[[int], None]:
        return lambda sent: os.kill(stack.started[name].pid, sent)

    def to_driver(sent: int) -> None:
        assert stream.pid is not None
        os.killpg(stream.pid, sent)

    def to_worker(sent: int) -> None:
        for pid in stream.workers()[:1]:
            os.kill(pid, sent)

    services = {name: to_service(name) for name in ("kafka", "connect", "postgres", "redis")}
    return {"driver": to_driver, "worker": to_worker, **services}


def kill(victim: Callable[[int], None]) -> None:
    victim(signal.SIGKILL)


def pause(victim: Callable[[int], None], seconds: float) -> None:
    victim(signal.SIGSTOP)
    time.sleep(seconds)
    victim(signal.SIGCONT)
