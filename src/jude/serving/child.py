"""A `jude serve` beside the program that needs it, and ended with it: for demos, benchmarks and tests."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jude.errors import TerminalEnvironmentError

_LAST_LINES = 20


@dataclass(frozen=True, slots=True)
class ChildServer:
    """A server that answers."""

    target: str  # host:port
    process: subprocess.Popen[str]

    def overrides(self) -> tuple[str, ...]:
        """The settings of a pipeline that uses it."""
        return ("encoder.kind=grpc", "encoder.path=null", f"encoder.server.target={self.target}")


@contextmanager
def serving(conf: Path, overrides: Sequence[str] = (), *, port: int = 0) -> Iterator[ChildServer]:
    """Start `jude serve` with these settings, without a metrics port; kill it afterwards. Port 0: any free one.

    Raises TerminalEnvironmentError with its last lines when it ends before it serves.
    """
    command = [sys.executable, "-m", "jude.cli", "serve", "--conf", str(conf), "--port", str(port)]
    sets = [part for override in ("serving.metrics_port=null", *overrides) for part in ("--set", override)]
    process = subprocess.Popen([*command, *sets], stderr=subprocess.PIPE, text=True)  # noqa: S603 - our own program
    try:
        yield ChildServer(f"127.0.0.1:{_port_when_ready(process)}", process)
    finally:
        process.kill()
        process.wait()


def _port_when_ready(process: subprocess.Popen[str]) -> int:
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        if found := re.match(r"Serving .*:(\d+)\.", line):
            # A pipe that nobody reads would stop the server once it is full.
            threading.Thread(target=process.stderr.read, name="jude-server-log", daemon=True).start()
            return int(found[1])
        said.append(line)
    raise TerminalEnvironmentError(
        "The embedding server ended before it served. Its last lines:\n" + "".join(said[-_LAST_LINES:])
    )
