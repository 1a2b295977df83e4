"""The embedded online store: one SQLite file in WAL mode, read and written by several processes at once."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from jude.errors import TerminalError
from jude.online.protocol import OnlineVector, Put, PutResult, PutStatus
from jude.online.sqlite_errors import store_errors
from jude.online.sqlite_file import connect, prepare
from jude.online.value import decode_value, encode_value

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_IDS_PER_QUERY: Final = 10_000  # SQLite allows 32,766 parameters
_PUT: Final = """
    INSERT INTO vectors (model_version, entity_type, entity_id, position, available_at, value)
    VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (model_version, entity_type, entity_id) DO UPDATE
        SET position = excluded.position, available_at = excluded.available_at, value = excluded.value
        WHERE excluded.position > vectors.position"""
_STORED: Final = """
    SELECT position, available_at FROM vectors WHERE model_version = ? AND entity_type = ? AND entity_id = ?"""
_GET: Final = """
    SELECT entity_id, position, available_at, value FROM vectors
    WHERE model_version = ? AND entity_type = ? AND value IS NOT NULL AND entity_id IN ({})"""
_FLIP: Final = """
    INSERT INTO aliases (alias, model_version) VALUES (?, ?)
    ON CONFLICT (alias) DO UPDATE SET model_version = excluded.model_version"""


class SqliteStore:
    """An OnlineStore in one file. Safe for threads and processes; a reader never waits for a writer."""

    def __init__(self, path: str | Path, busy_timeout_seconds: float = 10.0) -> None:
        """Open or create the file.

        Raises TerminalError when the file cannot be opened, is damaged or belongs to another program,
        TransientOnlineError when others hold its lock for longer than the busy timeout.
        """
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TerminalError(f"The online store's folder {self.path.parent} cannot be made: {error}") from error
        self._writer = connect(self.path, busy_timeout_seconds)
        self._reader = self._writer
        try:
            prepare(self._writer, self.path)
            # Two connections, so that a read in this process does not queue behind a batch of puts.
            self._reader = connect(self.path, busy_timeout_seconds)
        except BaseException:
            self.close()
            raise
        self._write_lock, self._read_lock = threading.Lock(), threading.Lock()

    def get_many(self, model_version: str, entity_type: str, entity_ids: Sequence[str]) -> list[OnlineVector | None]:
        """Give one answer per id, in order; None for an unknown or deleted entity.

        Raises TransientOnlineError, and TerminalError for a damaged file or value.
        """
        found: dict[str, OnlineVector] = {}
        wanted = list(dict.fromkeys(entity_ids))
        with store_errors(self.path), self._read_lock:
            for start in range(0, len(wanted), _IDS_PER_QUERY):
                ids = wanted[start : start + _IDS_PER_QUERY]
                query = _GET.format(",".join("?" * len(ids)))
                for entity_id, *row in self._reader.execute(query, (model_version, entity_type, *ids)):
                    found[entity_id] = self._online_vector(*row)
        return [found.get(entity_id) for entity_id in entity_ids]

    def put_many(self, puts: Sequence[Put], now: datetime) -> list[PutResult]:
        """Put in one transaction; one result per put, in order. `now` (with a time zone) becomes `available_at`.

        Raises ValueError for a vector that does not fit its dtype and dim (nothing is put), TransientOnlineError.
        """
        available_at = _microseconds(now)
        rows = [_row(put, available_at) for put in puts]
        if not rows:
            return []
        with self._transaction() as connection:
            return [_put_one(connection, row, now) for row in rows]

    def flip(self, alias: str, model_version: str) -> None:
        """Point an alias (`current`) at a model version, atomically."""
        with self._transaction() as connection:
            connection.execute(_FLIP, (alias, model_version))

    def resolve(self, alias: str) -> str | None:
        """Give the model version that an alias points at."""
        with store_errors(self.path), self._read_lock:
            row = self._reader.execute("SELECT model_version FROM aliases WHERE alias = ?", (alias,)).fetchone()
        return None if row is None else str(row[0])

    def close(self) -> None:
        """Close both connections; the last one of all processes folds the write-ahead log into the file."""
        self._reader.close()
        self._writer.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        # IMMEDIATE takes the write lock at once: a transaction that first reads and then writes could not be retried.
        with store_errors(self.path), self._write_lock:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    def _online_vector(self, position: str, available_at: int, value: bytes) -> OnlineVector:
        try:
            vector, dtype, dim = decode_value(value)
        except ValueError as error:
            raise TerminalError(f"The online store {self.path} holds a value that cannot be read: {error}") from error
        return OnlineVector(vector, dtype, dim, position, _moment(available_at))


_Row = tuple[str, str, str, str, int, bytes | None]


def _row(put: Put, available_at: int) -> _Row:
    value = None if put.vector is None else encode_value(put.vector, put.dtype, put.dim)
    return put.model_version, put.entity_type, put.entity_id, put.position, available_at, value


def _put_one(connection: sqlite3.Connection, row: _Row, now: datetime) -> PutResult:
    if connection.execute(_PUT, row).rowcount:  # 0: the guard refused
        return PutResult(PutStatus.STORED, now)
    position, available_at = connection.execute(_STORED, row[:3]).fetchone()
    if position == row[3]:
        return PutResult(PutStatus.ALREADY_THIS_POSITION, _moment(available_at))
    return PutResult(PutStatus.NEWER_PRESENT, None)


def _microseconds(moment: datetime) -> int:
    if moment.tzinfo is None:
        raise ValueError("`now` needs a time zone: pass datetime.now(UTC)")
    return (moment - _EPOCH) // _MICROSECOND


def _moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)
