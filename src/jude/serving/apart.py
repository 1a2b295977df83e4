"""A model in a process of its own: its Python work and the server's never wait for one interpreter lock.

The server tokenises, admits and answers; this process does nothing but passes. It has as many connections as passes can
run at once, and ends when the server's ends are closed.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from queue import SimpleQueue
from threading import Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jude.encoder import EncoderSpec, open_encoder
from jude.encoder.spec import spec_of
from jude.errors import JudeError, TerminalEnvironmentError
from jude.observe.logs import log_event

_LOG = logging.getLogger("jude.serving.apart")
_CLOSING_SECONDS = 5.0
_KEPT_MEMORY = {  # glibc: what a pass frees is for the next one, on huge pages; fetching it anew took 4 % of the time
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class ModelApart:
    """The encoder of a spec behind pipes. Several threads may call it."""

    def __init__(self, spec: EncoderSpec, passes: int) -> None:
        """Start the process and load the model there. `passes`: how many may run at once. Raises as `open_encoder`."""
        ours, theirs = zip(*(Pipe() for _ in range(passes)), strict=True)
        files = [end.fileno() for end in theirs]
        command = [sys.executable, "-m", "jude.serving.apart", *map(str, files)]
        # A session of its own: Ctrl-C is for the server, which drains first.
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            command, pass_fds=files, start_new_session=True, env={**_KEPT_MEMORY, **os.environ}
        )
        for end in theirs:
            end.close()
        try:
            ours[0].send(spec.as_json())
            told = ours[0].recv()
        except (EOFError, OSError):
            code = self._process.wait(_CLOSING_SECONDS)
            raise TerminalEnvironmentError(
                f"The model's process ended while it loaded the model (exit code {code}). Its last words stand above; "
                "-9 without any: the machine's memory was too small."
            ) from None
        if isinstance(told, Exception):
            raise told
        self.model_version, self.width, self.side_by_side = told
        self.padding_share = 0.0
        self._idle: SimpleQueue[Connection[Any, Any]] = SimpleQueue()
        for end in ours:
            self._idle.put(end)

    def encode(self, token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Encode as fast as this machine can."""
        return self._ask("encode", token_ids)

    def encode_on_one_core(self, token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Encode, and leave the other cores to other calls."""
        return self._ask("encode_on_one_core", token_ids)

    def _ask(self, how: str, token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        connection = self._idle.get()
        try:
            connection.send((how, token_ids))
            made, self.padding_share = connection.recv()
        except (EOFError, OSError):
            # As if the model had ended this process itself: callers find no server and wait for its restart.
            log_event(_LOG, logging.CRITICAL, "model process ended")
            os._exit(1)
        self._idle.put(connection)
        if isinstance(made, Exception):
            raise made
        vectors: NDArray[np.float32] = made
        return vectors

    def __del__(self) -> None:
        """Close the connections, on which the process ends. Nobody waits for it: all calls may share this thread."""
        with suppress(AttributeError, RuntimeError):  # it may never have come so far; or the interpreter ends
            while not self._idle.empty():
                self._idle.get().close()
            Thread(target=self._process.wait, name="jude-model-ends", daemon=True).start()


def main(files: Sequence[str]) -> None:
    """Load the model that the first connection names, then compute for all of them."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # of a supervisor that ends all processes: the server drains first
    connections: list[Connection[Any, Any]] = [Connection(int(file)) for file in files]
    first = connections[0]
    try:
        encoder: Any = open_encoder(spec_of(first.recv()))
    except Exception as error:
        first.send(_sendable(error))
        return
    if hasattr(encoder, "give_way"):
        encoder.give_way()  # callers' requests are read and refused while passes run
    first.send((encoder.model_version, encoder.width, getattr(encoder, "side_by_side", 1)))
    threads = [Thread(target=_compute, args=(encoder, connection)) for connection in connections]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _compute(encoder: Any, connection: Connection[Any, Any]) -> None:  # noqa: ANN401 - it is called by name
    with suppress(EOFError):
        while True:
            how, token_ids = connection.recv()
            try:
                made: Any = getattr(encoder, how)(token_ids)
            except Exception as error:  # of one pass, handed to the server
                made = _sendable(error)
            connection.send((made, getattr(encoder, "padding_share", 0.0)))


def _sendable(error: Exception) -> Exception:
    return error if isinstance(error, JudeError) else RuntimeError(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
