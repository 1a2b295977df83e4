"""A stack with a stream of its own under a load, and what can go wrong with it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psycopg

from deploy.live.compare import wait_until_equal
from deploy.live.source import Record, Source, read_history
from deploy.live.stream import PROJECT, Supervised, SupervisedStream
from deploy.stack.ports import free_ports
from deploy.stack.stack import Stack
from jude.settings import Settings, load_settings

HASHING = ("encoder.kind=hashing", "encoder.width=32")
EQUAL_SECONDS = 120.0
# As in conf/test.yml: a test is over before the JVM's second compiler pays.
QUICK_JVM = 'spark.extra={spark.driver.extraJavaOptions: "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}'


@dataclass
class Load:
    """Plays recorded changes into the database at a rate, and goes on when the database comes back."""

    url: str
    rate: float
    history: list[Record]
    played: int = 0
    failed: int = 0
    seconds: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._play, daemon=True)
        began = time.monotonic()
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()
            self.seconds = time.monotonic() - began

    def _play(self) -> None:
        source: Source | None = None
        due = time.monotonic()
        while not self._stop.is_set():
            try:
                source = source or Source(self.url)
                source.play([self.history[self.played % len(self.history)]])
                self.played += 1
            except psycopg.OperationalError:  # the database was killed: this transaction is lost, as for any client
                self.failed += 1
                source = None
                self._stop.wait(0.2)
            due = max(due + 1 / self.rate, time.monotonic() - 1.0)  # a second of outage is made up for, not more
            self._stop.wait(due - time.monotonic())


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
        f"stream.checkpoint={work}/checkpoint", f"tables.root={work}/tables", f"online.redis.prefix={name}",
        f"output.topic=jude.embeddings.{name}", "log.level=WARNING", QUICK_JVM, *overrides,
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


Victim = Callable[[int], None]


def victims(stack: Stack, stream: SupervisedStream) -> dict[str, Victim]:
    """What a signal can be sent to, by name."""

    def to_workers(sent: int) -> None:
        pids = stream.workers()  # the one that forks the others among them
        for pid in random.sample(pids, min(len(pids), 1)) if sent == signal.SIGKILL else pids:
            send(pid, sent)

    services = {name: partial(send_to, stack, name) for name in ("kafka", "connect", "postgres", "redis")}
    return {"driver": stream.send, "worker": to_workers, **services}


def send_to(stack: Stack, name: str, sent: int) -> None:
    """To a service and what it has forked: PostgreSQL's sessions go on without their parent."""
    pid = stack.started[name].pid
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    for each in (pid, *map(int, found.stdout.split())):
        send(each, sent)


def send(pid: int, sent: int) -> None:
    with suppress(ProcessLookupError):  # it has just ended by itself
        os.kill(pid, sent)


def pause(victim: Victim, seconds: float) -> None:
    victim(signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        victim(signal.SIGCONT)


@contextmanager
def serving(folder: Path) -> Iterator[tuple[Supervised, tuple[str, ...]]]:
    """An embedding server of its own, and the settings of a stream that asks it."""
    (port,) = free_ports(1)
    sets = (f"serving.port={port}", "serving.metrics_port=null", "encoder.width=32")
    command = [sys.executable, "-m", "jude.cli", "serve", "--conf", str(PROJECT / "conf" / "test.yml")]
    server = Supervised([*command, *(part for each in sets for part in ("--set", each))], folder / "encoder.log")
    server.start()
    try:
        yield server, ("encoder.kind=grpc", f"encoder.server.target=127.0.0.1:{port}", "encoder.timeout_seconds=60")
    finally:
        server.stop()


def wait_for_services(stack: Stack, seconds: float = 90.0) -> None:
    """Heal until every service answers."""
    end = time.monotonic() + seconds
    while not all(state.startswith("answers") for state in stack.status().values()):
        assert time.monotonic() < end, stack.status()
        stack.heal()
        time.sleep(0.5)
