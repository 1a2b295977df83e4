"""The source database: recorded histories played into PostgreSQL as the SQL that made them."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import orjson
import psycopg
from psycopg import sql

from jude.changes.decode import PLACEHOLDER

Record: TypeAlias = Mapping[str, Any]

TABLES: Final = {"jude.public.jobs": "jobs", "jude.public.members": "members", "jude.public.resumes": "resumes"}


def read_history(folder: Path) -> Iterator[Record]:
    """Give the recorded changes of a folder in their order, without control records and tombstones."""
    for file in sorted(folder.glob("*.jsonl.gz")):
        with gzip.open(file) as lines:
            for line in lines:
                try:
                    record: Record = orjson.loads(line)
                except orjson.JSONDecodeError:
                    continue  # the sample holds broken lines on purpose
                if record.get("topic") in TABLES and isinstance(record.get("value"), dict):
                    yield record


class Source:
    """One writer of the source database."""

    def __init__(self, url: str) -> None:
        """Connect. Raises psycopg.OperationalError."""
        self._connection = psycopg.connect(url, autocommit=True)
        columns = self._connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
        ).fetchall()
        self._columns = {table: {c for t, c in columns if t == table} for table in TABLES.values()}

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()

    def play(self, records: Iterable[Record]) -> int:
        """Apply changes in one transaction; give how many changed a row."""
        with self._connection.transaction():
            return sum(self._apply(record) for record in records)

    def execute(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run one statement in its own transaction; give its rows."""
        cursor = self._connection.execute(statement.encode(), values or None)
        return cursor.fetchall() if cursor.description else []

    def _apply(self, record: Record) -> int:
        table, value, headers = TABLES[record["topic"]], record["value"], record.get("headers") or {}
        if value["op"] == "d":
            return 0 if "__debezium.newkey" in headers else self._delete(table, record["key"]["id"])
        row = {name: v for name, v in (value.get("after") or {}).items() if name in self._columns[table]}
        row = {name: v for name, v in row.items() if v not in (PLACEHOLDER, [PLACEHOLDER])}
        if "id" not in row:
            return 0
        if old := headers.get("__debezium.oldkey"):
            self._move(table, orjson.loads(old)["id"], row["id"])
        return self._upsert(table, row)

    def _delete(self, table: str, key: str) -> int:
        return self._run("DELETE FROM {table} WHERE id = %s", table, (key,))

    def _move(self, table: str, old: str, new: str) -> None:
        self._run(
            "DELETE FROM {table} WHERE id = %s AND EXISTS (SELECT 1 FROM {table} WHERE id = %s)", table, (new, old)
        )
        self._run("UPDATE {table} SET id = %s WHERE id = %s", table, (new, old))

    def _upsert(self, table: str, row: Record) -> int:
        names = [sql.Identifier(name) for name in row]
        pairs = [sql.SQL("{0} = EXCLUDED.{0}").format(name) for name in names]
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT (id) DO UPDATE SET {}").format(
            sql.Identifier(table),
            sql.SQL(", ").join(names),
            sql.SQL(", ").join([sql.Placeholder()] * len(names)),
            sql.SQL(", ").join(pairs),
        )
        return self._connection.execute(statement, list(row.values())).rowcount

    def _run(self, statement: str, table: str, values: tuple[object, ...]) -> int:
        made = sql.SQL(statement).format(table=sql.Identifier(table))
        return self._connection.execute(made, values).rowcount
