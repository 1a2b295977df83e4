"""Memory of this process and of all that it started (the JVM, Spark's Python processes), sampled from /proc."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final

MIB: Final = 2**20
MOST_BY_OTHERS: Final = 0.1  # of all cores, while we measure: a run that was disturbed more says nothing


@dataclass(slots=True)
class Memory:
    """Resident memory in MiB; zeros where there is no /proc."""

    python: float = 0.0  # this process
    jvm: float = 0.0
    workers: float = 0.0  # Spark's Python processes together

    def __str__(self) -> str:
        return f"Python {self.python:,.0f} MiB, JVM {self.jvm:,.0f} MiB, Python workers {self.workers:,.0f} MiB"


@dataclass
class MemoryWatch:
    """Samples twice a second while the block runs; `peak` holds the highest of each."""

    every_seconds: float = 0.5
    peak: Memory = field(default_factory=Memory)
    _done: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> MemoryWatch:
        self._thread = threading.Thread(target=self._sample, name="memory-watch", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join()

    def _sample(self) -> None:
        while not self._done.wait(self.every_seconds):
            now = memory()
            for name in Memory.__slots__:
                setattr(self.peak, name, max(getattr(self.peak, name), getattr(now, name)))


def memory() -> Memory:
    """Resident memory of this process and its descendants, now."""
    found = Memory(python=_resident_mib(os.getpid()))
    for pid in _descendants(os.getpid()):
        if _name(pid) == "java":
            found.jvm += _resident_mib(pid)
        else:
            found.workers += _resident_mib(pid)
    return found


@dataclass(frozen=True, slots=True)
class Processor:
    """Processor time in seconds, with that of ended children: depends on the load far less than the clock does."""

    python: float  # this process
    jvm: float  # and the Python processes that Spark has ended
    workers: float

    def since(self, before: Processor) -> Processor:
        return Processor(self.python - before.python, self.jvm - before.jvm, self.workers - before.workers)

    def __str__(self) -> str:
        return f"CPU s: Python {self.python:.1f}, JVM {self.jvm:.1f}, Python workers {self.workers:.1f}"


def processor() -> Processor:
    """Processor time of this process and its descendants, until now."""
    own = os.times()
    below = [(_name(pid) == "java", _ticks(pid) / os.sysconf("SC_CLK_TCK")) for pid in _descendants(os.getpid())]
    return Processor(
        own.user + own.system, sum(s for java, s in below if java), sum(s for java, s in below if not java)
    )


def cpu_seconds(root: int) -> float:
    """Processor time of one process and of all that it started."""
    return sum(map(_ticks, (root, *_descendants(root)))) / os.sysconf("SC_CLK_TCK")


def busy_seconds() -> float:
    """Processor time of everything on this machine since it started; 0 where the system does not say."""
    try:
        first = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()
    except OSError:
        return 0.0
    user, nice, system, _, _, irq, soft = map(int, first[1:8])
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")


def disk_bytes(folder: Path) -> int:
    """Bytes of all files under a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _descendants(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = entry.read_text().rpartition(")")[2].split()
        except OSError:  # it ended just now
            continue
        children.setdefault(int(after_name[1]), []).append(int(entry.parent.name))
    found, waiting = [], [root]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def _ticks(pid: int) -> int:
    """User and system time of a process and of its ended children, in clock ticks."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return sum(map(int, fields[11:15]))


def _resident_mib(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB
    except (OSError, IndexError):
        return 0.0


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
