"""Opening the SQLite file: pragmas, schema, and the refusal of files that are not ours."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Final

from jude.errors import TerminalError
from jude.online.sqlite_errors import store_errors

STORE_VERSION: Final = 1
_APPLICATION_ID: Final = int.from_bytes(b"JUDE", "big")
# A rowid table: with 1.5 kB values a WITHOUT ROWID tree holds two keys a page (puts: 6 k, not 20 k, rows a second).
# BINARY collation compares positions byte by byte, as every other store does.
_SCHEMA: Final = (
    """CREATE TABLE vectors (
        model_version TEXT NOT NULL,
        entity_type TEXT NOT NULL,
        entity_id TEXT NOT NULL,
        position TEXT NOT NULL COLLATE BINARY,
        available_at INTEGER NOT NULL, -- microseconds since the epoch, UTC
        value BLOB,                    -- see value.py; NULL: deleted at this position
        PRIMARY KEY (model_version, entity_type, entity_id)
    )""",
    "CREATE TABLE aliases (alias TEXT PRIMARY KEY, model_version TEXT NOT NULL)",
    f"PRAGMA application_id = {_APPLICATION_ID}",
    f"PRAGMA user_version = {STORE_VERSION}",
)
_WAL_TRIES: Final = 100


def connect(path: Path, busy_timeout_seconds: float) -> sqlite3.Connection:
    """Open a connection in autocommit mode; transactions are written out where they are needed."""
    with store_errors(path):
        connection = sqlite3.connect(
            path, timeout=busy_timeout_seconds, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        try:
            _set_pragmas(connection, busy_timeout_seconds)
        except BaseException:
            connection.close()
            raise
    return connection


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Create the schema in an empty file, accept ours. Raises TerminalError for a foreign or newer file."""
    with store_errors(path):
        if _pragma(connection, "user_version") == STORE_VERSION:
            _refuse_foreign(connection, path)
            return
        connection.execute("BEGIN IMMEDIATE")  # two processes that both start: the second finds the work done
        try:
            _create_or_refuse(connection, path)
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


def _create_or_refuse(connection: sqlite3.Connection, path: Path) -> None:
    version = _pragma(connection, "user_version")
    if version == STORE_VERSION:
        return
    if version > STORE_VERSION and _pragma(connection, "application_id") == _APPLICATION_ID:
        raise TerminalError(
            f"The online store {path} has version {version}, this JUDE knows version {STORE_VERSION}. "
            "Update JUDE, or choose another file and rebuild it from the tables."
        )
    if version or connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise _foreign(path)
    for statement in _SCHEMA:
        connection.execute(statement)


def _refuse_foreign(connection: sqlite3.Connection, path: Path) -> None:
    if _pragma(connection, "application_id") != _APPLICATION_ID:
        raise _foreign(path)


def _foreign(path: Path) -> TerminalError:
    return TerminalError(f"{path} is an SQLite file of another program. Choose another path for the online store.")


def _set_pragmas(connection: sqlite3.Connection, busy_timeout_seconds: float) -> None:
    connection.execute(f"PRAGMA busy_timeout = {int(busy_timeout_seconds * 1000)}")
    _switch_to_wal(connection)
    # FULL: one fsync per put_many, so that an acknowledged batch also survives a power cut (NORMAL would lose it).
    connection.execute("PRAGMA synchronous = FULL")
    # A batch of 500 random keys touches about 1,000 pages. Folding the log into the file every 8,000 pages (32 MB)
    # instead of every 1,000, and a 64 MB page cache, took 384-d puts from 14 k to 25 k rows a second on one core.
    connection.execute("PRAGMA wal_autocheckpoint = 8000")
    connection.execute("PRAGMA cache_size = -64000")
    connection.execute("PRAGMA mmap_size = 268435456")


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Switch to write-ahead logging; SQLite does not wait for locks here, so several starting processes collide."""
    for attempt in range(_WAL_TRIES):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or attempt == _WAL_TRIES - 1:
                raise
            time.sleep(0.02)


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
