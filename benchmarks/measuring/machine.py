"""What a figure was measured on: figures without a machine and a load say nothing."""

from __future__ import annotations

import os
import platform
import re
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Final

_PACKAGES: Final = ("pyspark", "delta-spark", "deltalake", "pyarrow", "numpy", "orjson", "tokenizers", "torch")
_WIDEST_FIRST: Final = ("avx512f", "avx2", "avx", "asimd")


def describe() -> str:
    """Two lines: machine and load, versions."""
    machine = f"{processor()}, {cores()} cores, {memory_gib()} memory, {platform.system()} {platform.release()}"
    versions = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return f"Machine: {machine}; {load()}\nVersions: Python {platform.python_version()}, {versions}"


def load() -> str:
    """How busy the machine is, now."""
    return f"load average {', '.join(f'{x:.1f}' for x in os.getloadavg())} at {time.strftime('%Y-%m-%d %H:%M')}"


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """Name and widest vector instructions of the processor."""
    text = _read("/proc/cpuinfo")
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    has = set(flags[1].split()) if flags else set()
    widest = next((flag for flag in _WIDEST_FIRST if flag in has), "unknown vector width")
    return f"{name[1] if name else platform.processor() or platform.machine()} ({widest})"


def memory_gib() -> str:
    """Memory of the machine."""
    total = re.search(r"^MemTotal:\s*(\d+) kB", _read("/proc/meminfo"), re.MULTILINE)
    return f"{int(total[1]) / 2**20:.0f} GiB" if total else "unknown"


def version(package: str) -> str:
    """Version of an installed package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"


def say(text: str) -> None:
    """Print a line of the report at once, also through a pipe."""
    print(text, flush=True)


class Progress:
    """Says on stderr how far a long step is, every few seconds."""

    def __init__(self, what: str, whole: int, every_seconds: float = 5.0) -> None:
        self._what, self._whole, self._every_seconds = what, whole, every_seconds
        self._began = self._said = time.monotonic()

    def at(self, done: int, more: str = "") -> None:
        now = time.monotonic()
        if now - self._said >= self._every_seconds:
            self._said = now
            share = f"{100 * done / max(1, self._whole):.0f}%"
            print(f"  {self._what}: {done:,} of {self._whole:,} ({share}), {now - self._began:.0f} s {more}".rstrip(),
                  file=sys.stderr, flush=True)  # fmt: skip


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
