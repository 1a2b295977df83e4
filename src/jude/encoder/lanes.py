"""Passes side by side on a CPU: two of one thread each make more vectors than one of two threads."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, get_native_id
from typing import Final, TypeVar

import torch

_T = TypeVar("_T")
_NICENESS: Final = 5


class Lanes:
    """Threads of one core each. A single batch runs in the caller's thread, on all cores."""

    def __init__(self, threads: int | None) -> None:
        """`threads` also sets what torch uses for one pass in this process; None leaves torch's own choice."""
        if threads is not None:
            torch.set_num_threads(threads)
        self.count = torch.get_num_threads() if threads is None else threads
        self._pool: ThreadPoolExecutor | None = None
        if self.count > 1:
            self._start()

    def on_one_core(self, work: Callable[[], _T]) -> _T:
        """Do one thing in one of the threads; as many callers as there are threads may do so at a time."""
        return work() if self._pool is None else self._pool.submit(work).result()

    def give_way(self) -> None:
        """Let everything else that wants a core go first: what answers callers must not wait behind a pass."""
        if self._pool is not None and sys.platform == "linux":  # where a thread has a priority of its own
            self._in_each(lambda: os.setpriority(os.PRIO_PROCESS, get_native_id(), _NICENESS))

    def run(self, work: Callable[[_T], None], parts: Sequence[_T], lanes: int) -> None:
        """Do all parts, in any order, on so many lanes (all, or 1: this thread); the first error is raised."""
        if self._pool is None or lanes == 1 or len(parts) < 2:
            _do(map(work, parts))
        else:
            _do(self._pool.map(work, parts))

    def _start(self) -> None:
        """Start all threads now: a thread's count is set when it begins, and is torch's default for later threads."""
        whole = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(self.count, "jude-encode")
        self._in_each(_take_one_core)
        torch.set_num_threads(whole)

    def _in_each(self, work: Callable[[], object]) -> None:
        assert self._pool is not None
        together = Barrier(self.count)

        def once(_: int) -> None:
            together.wait()  # no thread does the work of two
            work()

        _do(self._pool.map(once, range(self.count)))


def _take_one_core() -> None:
    """Torch sets a thread's count at its first use to that of the process: use it, so that this one comes later."""
    torch.get_num_threads()
    torch.set_num_threads(1)


def _do(results: Iterable[object]) -> None:
    for _ in results:
        pass
