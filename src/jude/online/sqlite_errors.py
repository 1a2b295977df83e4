"""What an SQLite failure means for the job: try again, or stop and tell a person."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from jude.errors import JudeError, TerminalError, TransientOnlineError

_TRANSIENT: Final = {
    sqlite3.SQLITE_BUSY: "is locked by another process",
    sqlite3.SQLITE_LOCKED: "is locked by another connection",
    sqlite3.SQLITE_FULL: "lies on a full disk",
    sqlite3.SQLITE_IOERR: "could not be read or written",
    sqlite3.SQLITE_NOMEM: "needs more memory than there is",
}
_REBUILD: Final = "Move it away and fill a new one from the tables (rebuild)."
_TERMINAL: Final = {
    sqlite3.SQLITE_CORRUPT: f"is damaged. {_REBUILD}",
    sqlite3.SQLITE_NOTADB: f"is not an SQLite file. {_REBUILD}",
    sqlite3.SQLITE_READONLY: "may not be written. Give this user the right to write to the file and its folder.",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened. It must be a file in a folder that this user may write to.",
    sqlite3.SQLITE_PERM: "may not be opened by this user. Change its permissions.",
}
_PRIMARY_CODE: Final = 0xFF  # extended codes (SQLITE_BUSY_SNAPSHOT, ...) carry the primary one in the low byte


def store_error(error: sqlite3.Error, path: Path) -> JudeError:
    """Translate an SQLite error into the error tree, with a sentence."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & _PRIMARY_CODE
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    if primary in _TRANSIENT:
        return TransientOnlineError(f"The online store {path} {_TRANSIENT[primary]} ({name}): trying again may help.")
    if primary in _TERMINAL:
        return TerminalError(f"The online store {path} {_TERMINAL[primary]} ({name})")
    return TerminalError(f"The online store {path} failed in an unexpected way ({name}: {error}). {_REBUILD}")


@contextmanager
def store_errors(path: Path) -> Iterator[None]:
    """Run a block whose SQLite errors become TransientOnlineError or TerminalError."""
    try:
        yield
    except sqlite3.Error as error:
        raise store_error(error, path) from error
