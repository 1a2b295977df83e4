"""Write Debezium records by hand: a test says what happened in the database, in one line per change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from jude.changes.decode import PLACEHOLDER, decode
from jude.entities import Entities, load_entities
from jude.planning.rows import RECORDS

CONF = Path(__file__).parent.parent / "conf"
NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
COMMITTED_MS = int(datetime(2026, 1, 1, 11, 59, 59, tzinfo=UTC).timestamp() * 1000)
JOBS = "jude.public.jobs"

Record = dict[str, Any]


def entities() -> Entities:
    return load_entities(CONF / "entities")


def job(title: str = "Engineer", description: Any = "Builds things.", **columns: Any) -> dict[str, Any]:
    return {"title": title, "organisation": "GSA", "location": "Remote", "description": description, **columns}


def record(
    key: Any, value: Any, *, offset: int = 0, topic: str = JOBS, headers: dict[str, Any] | None = None
) -> Record:
    return {
        "topic": topic,
        "partition": 0,
        "offset": offset,
        "timestamp": NOW,
        "key": key if isinstance(key, bytes | None) else orjson.dumps(key),
        "value": value if isinstance(value, bytes | None) else orjson.dumps(value),
        "headers": [{"key": k, "value": orjson.dumps(v)} for k, v in (headers or {}).items()],
    }


def envelope(op: Any, after: Any, lsn: Any, tx_order: int | None = None, **more: Any) -> dict[str, Any]:
    transaction = None if tx_order is None else {"id": f"1:{lsn}", "total_order": tx_order, "data_collection_order": 1}
    source = {"lsn": lsn, "txId": 1, "ts_ms": COMMITTED_MS, "snapshot": "false", "connector": "postgresql"}
    return {"op": op, "before": None, "after": after, "source": source, "transaction": transaction, **more}


def upsert(
    key: Any, lsn: int, row: dict[str, Any], *, op: str = "u", offset: int | None = None, tx_order: int | None = None,
    old: str | None = None, topic: str = JOBS,
) -> Record:  # fmt: skip
    """A create (c), update (u) or snapshot row (r); `old`: the key before a key change."""
    headers = {"__debezium.oldkey": {"id": old}} if old else {}
    value = envelope(op, {"id": key, **row}, lsn, tx_order)
    return record({"id": key}, value, offset=lsn if offset is None else offset, topic=topic, headers=headers)


def delete(key: str, lsn: int, *, offset: int | None = None, tx_order: int | None = None, topic: str = JOBS) -> Record:
    """A delete with what Debezium invents in `before`."""
    value = envelope("d", None, lsn, tx_order) | {"before": {"id": key, **job("", "")}}
    return record({"id": key}, value, offset=lsn if offset is None else offset, topic=topic)


def tombstone(key: str, offset: int, *, topic: str = JOBS) -> Record:
    return record({"id": key}, None, offset=offset, topic=topic)


def records(rows: Iterable[Record]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=RECORDS)


def changes(rows: Sequence[Record]) -> pa.Table:
    return decode(records(rows), entities(), source_epoch=0, ingested_at=NOW).changes


__all__ = [
    "PLACEHOLDER",
    "changes",
    "delete",
    "entities",
    "envelope",
    "job",
    "record",
    "records",
    "tombstone",
    "upsert",
]
