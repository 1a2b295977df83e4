"""A real Redis server for tests: one process on loopback, nothing kept.

A room that needs it says so in its conftest or test module: `from tests.stack.redis import redis_server`.
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from deploy.stack import programs
from deploy.stack.ports import free_ports
from deploy.stack.programs import MissingProgramError

START_SECONDS = 10


@dataclass
class RedisServer:
    """A server that a test may stop and start again on the same port."""

    folder: Path
    port: int
    options: Sequence[str] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        command = ["redis-server", "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder)]
        port = [] if "--port" in self.options else ["--port", str(self.port)]
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen([*command, *port, *self.options], stdout=log, stderr=log)
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise RuntimeError((self.folder / "redis.log").read_text()[-2000:])

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def need_redis() -> None:
    """Skip with the reason where no server is installed."""
    try:
        programs.redis_server()
    except MissingProgramError as missing:
        pytest.skip(str(missing))


def start_redis(folder: Path, *options: str) -> RedisServer:
    need_redis()
    folder.mkdir(parents=True, exist_ok=True)
    server = RedisServer(folder, free_ports(1)[0], options)
    server.start()
    return server


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for the whole run; every user takes a prefix of its own."""
    server = start_redis(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A cluster of one node that holds every slot: it refuses a script over two slots as a large one does."""
    folder, bus = tmp_path_factory.mktemp("redis-cluster"), str(free_ports(1)[0])
    enabled = ("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf")
    server = start_redis(folder, *enabled, "--cluster-port", bus)
    import redis

    with redis.Redis(port=server.port) as node:
        node.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16_383)
        end = time.monotonic() + START_SECONDS
        while node.cluster("INFO")["cluster_state"] != "ok" and time.monotonic() < end:
            time.sleep(0.05)
    yield server
    server.kill()
