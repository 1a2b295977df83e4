"""One process per checkpoint: two would write the same batches, and Spark notices only after the first one is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from jude.errors import TerminalTableError
from jude.locking import locked_folder

ATTEMPTS_NAME = "jude.attempt"
_DAMAGED_WORDS = ("Checksum error", "Incomplete log file", "Malformed log file", "Failed to read log file")


def local_folder(checkpoint: str) -> Path | None:
    """The checkpoint as a folder of this machine; None for one on an object store."""
    if checkpoint.startswith("file:"):
        return Path(checkpoint.removeprefix("file:").replace("//", "", 1) or "/")
    return None if "://" in checkpoint or checkpoint.startswith("dbfs:") else Path(checkpoint)


@contextmanager
def locked(checkpoint: str) -> Iterator[None]:
    """Hold the checkpoint while the block runs. The lock ends with the process, however it dies.

    Raises TerminalEnvironmentError when another process holds it, or the folder cannot be written. A checkpoint on an
    object store is not locked: there the scheduler runs one at a time (max_concurrent_runs: 1).
    """
    folder = local_folder(checkpoint)
    if folder is None:
        yield
        return
    with locked_folder(
        folder,
        taken=lambda holder: (
            f"Process {holder} already streams from the checkpoint {folder}. "
            "Stop it first, or give this stream a checkpoint of its own with stream.checkpoint."
        ),
        unwritable=lambda reason: (
            f"The checkpoint folder {folder} cannot be written ({reason}). "
            "Name another with stream.checkpoint, or make it writable."
        ),
    ):
        yield


def require_metadata(checkpoint: str) -> None:
    """Raise TerminalTableError where the file that names the query is there and is no JSON."""
    folder = local_folder(checkpoint)
    metadata = folder / "metadata" if folder else None
    if metadata is None or not metadata.exists():
        return
    try:
        json.loads(metadata.read_bytes())
    except ValueError:
        raise _damaged(checkpoint, f"{folder}/metadata is no JSON") from None


def require_whole(checkpoint: str, error: Exception) -> None:
    """Raise TerminalTableError where a query ended because it could not read a file of its checkpoint."""
    for line in str(error).splitlines():
        if any(words in line for words in _DAMAGED_WORDS):
            said = line.rpartition("terminated with exception: ")[2].partition(" SQLSTATE")[0].strip()
            raise _damaged(checkpoint, said) from error


def _damaged(checkpoint: str, why: str) -> TerminalTableError:
    return TerminalTableError(
        f"The checkpoint {checkpoint} is damaged ({why}). `jude stream reset` puts it aside; the next start reads the "
        "source from the beginning, and what the tables know is counted stale."
    )


def require_own_tables(checkpoint: str, model_versions: pa.Table) -> None:
    """Refuse a checkpoint whose batches were all committed before the tables were made: these lack what it has read.

    Columns in: MODEL_VERSIONS, whose first row is as old as the tables. Raises TerminalTableError.
    """
    folder = local_folder(checkpoint)
    commits = [file for file in (folder / "commits").glob("*") if file.name.isdigit()] if folder else []
    made_at = pc.min(model_versions["valid_from"]).as_py()
    if commits and max(file.stat().st_mtime for file in commits) < made_at.timestamp():
        raise TerminalTableError(
            f"The checkpoint {folder} belongs to other tables: those of the settings were made after its last batch "
            "and would never hold what it has read. `jude stream reset` lets the source be read from the beginning; "
            "or name the tables and the checkpoint that belong together (tables.root, stream.checkpoint)."
        )
