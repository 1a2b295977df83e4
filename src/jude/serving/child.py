"""A `jude serve` beside the program that needs it, and ended with it: for demos, benchmarks and tests.

It reads from a pipe that only the program holds: even where that is killed, the server sees the end of it, and ends.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
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
    command = [sys.executable, "-m", "jude.serving.child", "serve", "--conf", str(conf), "--port", str(port)]
    sets = [part for override in ("serving.metrics_port=null", *overrides) for part in ("--set", override)]
    process = subprocess.Popen(  # noqa: S603 - our own program
        [*command, *sets], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
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


def _main() -> None:
    from jude.cli import main

    threading.Thread(target=_end_with_parent, name="jude-parent", daemon=True).start()
    main()


def _end_with_parent() -> None:
    with suppress(OSError):
        while os.read(0, 1):
            pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    _main()
