"""Rows for the tests of the tables, short enough to stand in a test."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from jude.planning.state import Key
from jude.tables.protocol import Tables, Txn
from jude.tables.spec import EMBEDDING_CURRENT, EMBEDDING_HISTORY, EMBEDDING_STORE, QUARANTINE, TEXT_HISTORY

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CURRENT = pa.schema([pa.field(f.name, f.type) for f in EMBEDDING_CURRENT.schema if f.name != "bucket"])


def at(second: int) -> datetime:
    return NOON + timedelta(seconds=second)


def batch(number: int, stream: str = "s1") -> Txn:
    return Txn("stream", stream, number)


def pointer(entity_id: str, position: str, **changed: Any) -> dict[str, Any]:
    """A row of embedding_current: what is not said is derived from the position."""
    return {
        "entity_type": "job",
        "entity_id": entity_id,
        "model_version": "m1",
        "status": "live",
        "position": position,
        "text_position": position,
        "columns_hash": f"columns of {position}",
        "text_hash": f"text of {position}",
        "input_hash": f"input of {position}",
        "topic": "jobs",
        "partition": 0,
        "offset": 1,
        "source_ts": at(1),
        "available_at": at(2),
        "quarantined_position": None,
        **changed,
    }


def pointers(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=CURRENT)


def text(entity_id: str, position: str | None, **changed: Any) -> dict[str, Any]:
    """A row of text_history."""
    return {
        "entity_type": "job",
        "entity_id": entity_id,
        "position": position,
        "source_ts": at(1),
        "ingested_at": at(1),
        "op": "u",
        "fields": [("title", f"{entity_id} at {position}")],
        "columns_hash": "c",
        "text": f"{entity_id} at {position}",
        "text_hash": "t",
        "writer_query": "s1",
        "writer_batch": 0,
        **changed,
    }


def texts(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=TEXT_HISTORY.schema)


def quarantined(quarantine_id: str, attempt: str) -> pa.Table:
    """A row of quarantine."""
    row: dict[str, Any] = {"quarantine_id": quarantine_id, "attempt": attempt, "status": "open"}
    row |= {"error_class": "not_json", "error": "It is not JSON.", "source_epoch": 0, "quarantined_at": NOON}
    return pa.Table.from_pylist([row], schema=QUARANTINE.schema)


def vector(input_hash: str, **changed: Any) -> dict[str, Any]:
    """A row of embedding_store."""
    return {
        "model_version": "m1",
        "input_hash": input_hash,
        "vector": input_hash.encode().ljust(8, b"\0")[:8],
        "dtype": "float32",
        "dim": 2,
        "n_tokens": 3,
        "truncated": False,
        "embedded_at": at(1),
        "writer_query": "s1",
        "writer_batch": 0,
        **changed,
    }


def vectors(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=EMBEDDING_STORE.schema)


def history(entity_id: str, position: str, **changed: Any) -> dict[str, Any]:
    """A row of embedding_history."""
    return {
        "entity_type": "job",
        "entity_id": entity_id,
        "model_version": "m1",
        "position": position,
        "text_hash": "t",
        "input_hash": "i",
        "status": "live",
        "origin": "stream",
        "source_ts": at(1),
        "ingested_at": at(1),
        "embedded_at": at(1),
        "available_at": at(2),
        "writer_query": "s1",
        "writer_batch": 0,
        **changed,
    }


def histories(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=EMBEDDING_HISTORY.schema)


def job(entity_id: str) -> Key:
    return Key("job", entity_id)


def known(tables: Tables, *entity_ids: str, columns: tuple[str, ...] = ("position", "offset")) -> dict[str, Any]:
    """What known_state says of these jobs: id -> the named columns."""
    rows = tables.known_state("m1", [job(i) for i in entity_ids])
    return {
        entity_id: values[0] if len(columns) == 1 else tuple(values)
        for entity_id, *values in zip(*(rows[c].to_pylist() for c in ("entity_id", *columns)), strict=True)
    }
