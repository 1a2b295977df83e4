"""Tables for the tests of readers: rows in sight, all other columns filled with what a batch would write."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from deltalake import write_deltalake

from jude.tables.spec import TABLES

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def minutes(count: float) -> datetime:
    return NOON + timedelta(minutes=count)


DEFAULTS: dict[str, dict[str, Any]] = {
    "text_history": {"entity_type": "job", "ingested_at": NOON, "op": "c", "writer_query": "q", "writer_batch": 0},
    "embedding_store": {
        "model_version": "m1",
        "dtype": "float32",
        "n_tokens": 3,
        "truncated": False,
        "embedded_at": NOON,
        "writer_query": "q",
        "writer_batch": 0,
    },
    "embedding_history": {
        "entity_type": "job",
        "model_version": "m1",
        "status": "live",
        "origin": "stream",
        "ingested_at": NOON,
        "writer_query": "q",
        "writer_batch": 0,
    },
    "embedding_current": {"entity_type": "job", "model_version": "m1", "bucket": 0, "status": "live"},
    "model_versions": {"state": "current", "width": 2, "dtype": "float32", "manifest": "{}", "valid_from": NOON},
    "quarantine": {"status": "open", "error_class": "not_json", "error": "It is not JSON.", "source_epoch": 0},
    "ledger": {"writer_query": "q", "model_version": "m1", "entity_type": "job", "started_at": NOON},
}


def write(root: Path, table: str, *rows: dict[str, Any]) -> None:
    """Append rows as one file, creating the table."""
    spec = TABLES[table]
    full = [DEFAULTS.get(table, {}) | row for row in rows]
    if table == "ledger":
        full = [{c.name: 0 for c in spec.columns if pa.types.is_int64(c.type)} | row for row in full]
    write_deltalake(
        str(root / table),
        pa.Table.from_pylist(full, schema=spec.schema),
        mode="append",
        partition_by=list(spec.partition_by) or None,
    )


def empty(root: Path) -> Path:
    """Create every table without rows."""
    for table in TABLES:
        write(root, table)
    return root


def float32(*numbers: float) -> dict[str, Any]:
    return {"vector": np.array(numbers, "<f4").tobytes(), "dtype": "float32", "dim": len(numbers)}


def bfloat16(*numbers: float) -> dict[str, Any]:
    upper = (np.array(numbers, "<f4").view("<u4") >> 16).astype("<u2")
    return {"vector": upper.tobytes(), "dtype": "bfloat16", "dim": len(numbers)}
