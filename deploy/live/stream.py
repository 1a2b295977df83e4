"""The streaming job as a process that a supervisor keeps alive, as systemd or a cluster's scheduler would."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

PROJECT = Path(__file__).parents[2]
_RESTART_PAUSE_SECONDS = 0.5


class Supervised:
    """A process, started again whenever it ends, until `stop`. It leads a group of its own."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._command, self.log = list(command), log
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: threading.Thread | None = None
        self.starts = 0

    def start(self) -> None:
        """Start, and keep alive."""
        self._stopping.clear()
        self._spawn()
        self._watcher = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._watcher.start()

    @property
    def pid(self) -> int | None:
        """Give the process, which leads its group."""
        return self._process.pid if self._process is not None else None

    def send(self, sent: int) -> None:
        """Send a signal to the whole group; one that has just ended is none."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, sent)

    def kill(self) -> None:
        """Kill -9 the whole group at once. The supervisor starts it again."""
        self.send(signal.SIGKILL)

    def stop(self) -> None:
        """End it (SIGTERM); killed where that takes over a minute."""
        self._stopping.set()
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill()
                self._process.wait()
        if self._watcher is not None:
            self._watcher.join()

    def _spawn(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command, cwd=PROJECT, stdout=log, stderr=log, start_new_session=True)
        self.starts += 1

    def _watch(self) -> None:
        while not self._stopping.is_set():
            assert self._process is not None
            try:
                self._process.wait(0.2)
            except subprocess.TimeoutExpired:
                continue
            if not self._stopping.wait(_RESTART_PAUSE_SECONDS):
                self._spawn()


class SupervisedStream(Supervised):
    """jobs/embed_stream.py: a group of Python, JVM and Python workers. Asked to end, it finishes its batch."""

    def __init__(self, conf: Path, log: Path, overrides: Sequence[str] = ()) -> None:
        sets = [part for override in overrides for part in ("--set", override)]
        super().__init__([sys.executable, "jobs/embed_stream.py", "--conf", str(conf), *sets], log)

    def workers(self) -> list[int]:
        """Give the Python workers that Spark started in this group."""
        found = subprocess.run(["ps", "-eo", "pid=,pgid=,args="], capture_output=True, text=True, check=True).stdout
        rows = [line.split(None, 2) for line in found.splitlines()]
        return [int(pid) for pid, group, args in rows if int(group) == self.pid and "pyspark.daemon" in args]
