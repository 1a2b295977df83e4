"""Processes that outlive the command that started them, and are stopped only if they are still the same ones."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Started:
    """A process that we started; `since` tells it from a later one with the same number."""

    pid: int
    since: str


@dataclass(frozen=True, slots=True)
class Command:
    """How to start a service."""

    arguments: Sequence[str]
    folder: Path
    log: Path
    user: str | None = None  # None: whoever runs this
    stop_signal: int = signal.SIGTERM
    environment: Mapping[str, str] = field(default_factory=dict)


def start(command: Command) -> Started:
    """Start in a session of its own, so that Ctrl-C in a terminal does not reach it."""
    with command.log.open("ab") as log:
        process = subprocess.Popen(
            list(command.arguments),
            cwd=command.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            user=command.user,
            group=command.user,
            extra_groups=[] if command.user else None,
            start_new_session=True,
            env={**os.environ, **command.environment},
        )
    _CHILDREN.append(process)
    return Started(process.pid, started_at(process.pid) or "")


# Ours until we end: without a wait for them the dead ones would look alive.
_CHILDREN: list[subprocess.Popen[bytes]] = []


def started_at(pid: int) -> str | None:
    """Say when a process began, by `ps`; None where there is none (or only its remains)."""
    for child in _CHILDREN:
        child.poll()
    found = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, since = found.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else since.strip()


def is_alive(started: Started) -> bool:
    """Tell whether this very process still runs."""
    return started_at(started.pid) == started.since


def stop(started: Started, stop_signal: int = signal.SIGTERM, wait_seconds: float = 20) -> None:
    """End a process: asked first, then killed. Does nothing where it is gone, or another one has its number."""
    for sent, seconds in ((stop_signal, wait_seconds), (signal.SIGKILL, 5.0)):
        if not is_alive(started):
            return
        os.kill(started.pid, signal.SIGCONT)  # a stopped process would not hear it
        os.kill(started.pid, sent)
        end = time.monotonic() + seconds
        while time.monotonic() < end and is_alive(started):
            time.sleep(0.05)
