"""A `jude serve` in a process of its own, and the CPU seconds it took."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks import PROJECT
from benchmarks.measuring.processes import cpu_seconds
from jude.serving import child


@dataclass(frozen=True)
class Served:
    """A server that answers."""

    target: str
    process: int

    def cpu_seconds(self) -> float:
        """Processor time of the server so far, user and system."""
        return cpu_seconds(self.process)


@contextmanager
def serving(*overrides: str) -> Iterator[Served]:
    """Start `jude serve` on a free port with these settings; end it afterwards."""
    with child.serving(PROJECT / "conf/local.yml", overrides) as server:
        yield Served(server.target, server.process.pid)
