"""Looking at a stream, asking it to end, and starting it over: by its checkpoint, from another process."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from jude.errors import TerminalEnvironmentError, TransientError
from jude.locking import LOCK_NAME
from jude.stream.checkpoint import local_folder

_POLL_SECONDS = 0.2
_NOT_WRITTEN_YET = 0


@dataclass(frozen=True, slots=True)
class StreamState:
    """A checkpoint at a glance. `offsets`: topic -> partition -> the next offset to read (Kafka only)."""

    checkpoint: str
    pid: int | None  # of the process that streams from it now
    last_batch: int | None
    offsets: Mapping[str, Mapping[str, int]] | None


def state_of(checkpoint: str) -> StreamState:
    """Read a checkpoint. Raises TerminalEnvironmentError for one on an object store."""
    folder = _folder(checkpoint)
    batches = [int(f.name) for f in (folder / "commits").glob("*") if f.name.isdigit()]
    last = max(batches, default=None)
    return StreamState(checkpoint, holder(checkpoint), last, None if last is None else _offsets(folder, last))


def holder(checkpoint: str) -> int | None:
    """Name the process that holds the checkpoint; None: nobody does; 0: one that has not said its name yet."""
    lock = _folder(checkpoint) / LOCK_NAME
    try:
        handle = os.open(lock, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(os.pread(handle, 32, 0).decode() or _NOT_WRITTEN_YET)
    else:
        return None
    finally:
        os.close(handle)


def drain(checkpoint: str, wait_seconds: float) -> int | None:
    """Ask the stream to finish its batch and end, and wait for it; gives its pid, None where none ran.

    Raises TransientError when it takes longer, TerminalEnvironmentError for a process of another user.
    """
    pid = holder(checkpoint)
    if pid is None:
        return None
    if pid == _NOT_WRITTEN_YET:
        raise TransientError(f"A stream just starts on {checkpoint}: ask again in a moment.")
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        pass  # it has just ended; the lock below says so
    except PermissionError:
        raise TerminalEnvironmentError(
            f"Process {pid} streams from {checkpoint} and belongs to another user: ask as that one, or send it SIGTERM."
        ) from None
    end = time.monotonic() + wait_seconds
    while holder(checkpoint) == pid:
        if time.monotonic() > end:
            raise TransientError(
                f"Process {pid} still works on its batch after {wait_seconds:.0f} s. Wait longer (--wait), or look at "
                f"its log; kill -9 {pid} is safe too: the batch is replayed."
            )
        time.sleep(_POLL_SECONDS)
    return pid


def reset(checkpoint: str, now: datetime) -> Path | None:
    """Put the checkpoint aside, so that the next start reads from `source.starting_offsets`; gives where it is now.

    Nothing is deleted, and nothing is doubled: what the tables know is read again as stale.
    Raises TerminalEnvironmentError while a stream holds it.
    """
    folder = _folder(checkpoint)
    if not folder.exists():
        return None
    if (pid := holder(checkpoint)) is not None:
        raise TerminalEnvironmentError(f"Process {pid} streams from {folder}. End it first: jude stream drain.")
    aside = folder.with_name(f"{folder.name}-{now:%Y%m%dT%H%M%S}")
    folder.rename(aside)
    return aside


def _offsets(folder: Path, batch: int) -> Mapping[str, Mapping[str, int]] | None:
    """Read what the batch had read: the last line is the source's own; that of recorded files is another kind."""
    try:
        last_line = (folder / "offsets" / str(batch)).read_text().strip().splitlines()[-1]
        found = json.loads(last_line)
    except (OSError, ValueError, IndexError):
        return None
    whole = isinstance(found, dict) and all(isinstance(p, dict) for p in found.values())
    return found if whole else None


def _folder(checkpoint: str) -> Path:
    folder = local_folder(checkpoint)
    if folder is None:
        raise TerminalEnvironmentError(
            f"The checkpoint {checkpoint} lies on an object store: its scheduler knows what runs."
        )
    return folder
