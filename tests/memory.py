"""Test doubles in memory: tables with the promises of the Delta ones, and a dictionary as online store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa

from jude.online.protocol import OnlineVector, Put, PutResult, PutStatus
from jude.planning.rows import KNOWN
from jude.planning.state import Key
from jude.tables.protocol import TextKey, Txn, written_by
from jude.tables.spec import EMBEDDING_STORE, TABLES

Row = dict[str, Any]


class MemoryTables:
    """Every table is a dictionary from natural key to row: appends keep the first row, MERGE is guarded."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[tuple[Any, ...], Row]] = {name: {} for name in TABLES}

    def ensure(self) -> None: ...

    def model_versions(self) -> pa.Table:
        rows = list(self.rows["model_versions"].values())
        return pa.Table.from_pylist(rows, schema=TABLES["model_versions"].schema)

    def known_state(self, model_version: str, keys: Iterable[Key]) -> pa.Table:
        found = (self.rows["embedding_current"].get((*key, model_version)) for key in sorted(keys))
        known = [{n: row.get(n) for n in KNOWN.names} | {"fields": None} for row in found if row is not None]
        return pa.Table.from_pylist(known, schema=KNOWN)

    def fields_of(self, rows: Iterable[TextKey]) -> dict[TextKey, dict[str, str]]:
        history = self.rows["text_history"]
        return {key: dict(history[tuple(key)]["fields"]) for key in rows if tuple(key) in history}

    def live_keys(self, model_version: str, entity_type: str) -> list[Key]:
        rows = self.rows["embedding_current"].values()
        wanted = (entity_type, model_version, "live")
        live = (r for r in rows if (r["entity_type"], r["model_version"], r["status"]) == wanted)
        return [Key(r["entity_type"], r["entity_id"]) for r in live]

    def stored(self, model_version: str, input_hashes: Sequence[str]) -> pa.Table:
        store = self.rows["embedding_store"]
        found = [store[model_version, h] for h in input_hashes if (model_version, h) in store]
        return pa.Table.from_pylist(found, schema=EMBEDDING_STORE.schema)

    def append(self, table: str, rows: pa.Table, txn: Txn) -> None:
        natural_key = TABLES[table].natural_key
        for row in rows.to_pylist():
            self.rows[table].setdefault(tuple(row[n] for n in natural_key), row)

    def retract(self, table: str, txn: Txn) -> None:
        its = written_by(TABLES[table], txn).items()
        kept = {key: row for key, row in self.rows[table].items() if any(row[name] != value for name, value in its)}
        self.rows[table] = kept

    def merge_current(self, rows: pa.Table, txn: Txn) -> None:
        current = self.rows["embedding_current"]
        for row in rows.to_pylist():
            key = (row["entity_type"], row["entity_id"], row["model_version"])
            old = current.get(key)
            if old is None or row["position"] > old["position"]:
                current[key] = row
            elif row["position"] == old["position"]:
                for name in ("offset", "quarantined_position"):
                    old[name] = max((v for v in (old[name], row[name]) if v is not None), default=None)


class MemoryOnline:
    """A guarded dictionary."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str, str], tuple[Put, datetime]] = {}

    def get_many(self, model_version: str, entity_type: str, entity_ids: Sequence[str]) -> list[OnlineVector | None]:
        raise NotImplementedError

    def put_many(self, puts: Sequence[Put], now: datetime) -> list[PutResult]:
        return [self._put(put, now) for put in puts]

    def _put(self, put: Put, now: datetime) -> PutResult:
        key = (put.model_version, put.entity_type, put.entity_id)
        held = self.rows.get(key)
        if held is None or put.position > held[0].position:
            self.rows[key] = (put, now)
            return PutResult(PutStatus.STORED, now)
        if put.position == held[0].position:
            return PutResult(PutStatus.ALREADY_THIS_POSITION, held[1])
        return PutResult(PutStatus.NEWER_PRESENT, None)

    def flip(self, alias: str, model_version: str) -> None: ...

    def resolve(self, alias: str) -> str | None:
        return None

    def close(self) -> None: ...
