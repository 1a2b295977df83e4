"""One process per folder: a lock that ends with its process, however that dies."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from jude.errors import TerminalEnvironmentError

LOCK_NAME: Final = "jude.lock"
_TRIES: Final = 3  # who only asks for the holder takes the lock for an instant
_BETWEEN_TRIES_SECONDS: Final = 0.05
_NO_LOCKS: Final = (errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK)  # mounted object stores: whoever schedules keeps one


@contextmanager
def locked_folder(folder: Path, *, taken: Callable[[str], str], unwritable: Callable[[str], str]) -> Iterator[None]:
    """Hold a folder of this machine, made where it is missing, while the block runs.

    Raises TerminalEnvironmentError: `taken` says it of the number of the process that holds it, `unwritable` of the
    system's reason.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise TerminalEnvironmentError(unwritable(error.strerror or str(error))) from None
    try:
        _take(lock, taken)
        yield
    finally:
        os.close(lock)


def _take(lock: int, taken: Callable[[str], str]) -> None:
    for tried in range(_TRIES):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if tried == _TRIES - 1:
                holder = os.pread(lock, 32, 0).decode(errors="replace").strip()
                raise TerminalEnvironmentError(taken(holder or "?")) from None
            time.sleep(_BETWEEN_TRIES_SECONDS)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
