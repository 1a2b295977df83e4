"""A `jude serve` in a process of its own, and the CPU seconds it took."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.streams import PROJECT


@dataclass(frozen=True)
class Served:
    """A server that answers."""

    target: str
    process: int

    def cpu_seconds(self) -> float:
        """Processor time of the server so far, user and system."""
        fields = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def serving(*overrides: str) -> Iterator[Served]:
    """Start `jude serve` on a free port with these settings; end it afterwards."""
    command = [sys.executable, "-m", "jude.cli", "serve", "--conf", str(PROJECT / "conf/local.yml"), "--port", "0"]
    settings = [part for o in ("serving.metrics_port=null", *overrides) for part in ("--set", o)]
    process = subprocess.Popen([*command, *settings], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.match(r"Serving .*:(\d+)\.", line):
                threading.Thread(target=process.stderr.read, daemon=True).start()
                yield Served(f"127.0.0.1:{found[1]}", process.pid)
                return
            sys.stderr.write(line)
        raise SystemExit("the server ended before it served; its last lines are above")
    finally:
        process.kill()
        process.wait()
