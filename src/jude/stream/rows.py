"""The rows that a planned batch writes, table by table."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jude.planning import Key, Reason
from jude.stream.effects import Effects, served
from jude.stream.pipeline import Pipeline
from jude.stream.planned import PlannedBatch
from jude.stream.vectors import Vectors
from jude.tables.protocol import Txn
from jude.tables.spec import EMBEDDING_CURRENT, EMBEDDING_HISTORY, QUARANTINE, TEXT_HISTORY


def text_history_rows(planned: pa.Table, txn: Txn, ingested_at: datetime) -> pa.Table:
    """Every text change of the fold, overtaken ones too; a delete with null text. Columns out: TEXT_HISTORY."""
    rows = planned.filter(planned["writes_text"])
    return _table(TEXT_HISTORY.schema, rows, {"ingested_at": ingested_at, **_writer(txn)})


def embedding_history_rows(
    planned: pa.Table, vectors: Vectors, effects: Effects, pipeline: Pipeline, txn: Txn, ingested_at: datetime
) -> pa.Table:
    """One row per moved pointer, with its four clocks. Columns out: EMBEDDING_HISTORY."""
    rows = served(planned)
    hashes = rows["input_hash"].to_pylist()
    constant = {"model_version": pipeline.model_version, "origin": pipeline.origin, "ingested_at": ingested_at}
    made = {
        "status": ["live" if h else "deleted" for h in hashes],
        "embedded_at": [vectors.found[h].embedded_at if h else None for h in hashes],
        "available_at": [effects.available_at(key) for key in _keys(rows)],
    }
    return _table(EMBEDDING_HISTORY.schema, rows, {**constant, **_writer(txn)}, made)


def quarantine_rows(batch: PlannedBatch, pipeline: Pipeline, txn: Txn, now: datetime) -> pa.Table:
    """Records that could not be applied, with all that a replay needs. Columns out: QUARANTINE."""
    rows = batch.planned.filter(pc.equal(batch.planned["reason"], Reason.QUARANTINED.value))
    if not rows.num_rows:
        return QUARANTINE.schema.empty_table()
    raw = batch.raw(rows)
    places = zip(*(rows[n].to_pylist() for n in ("topic", "partition", "offset")), strict=True)
    constant = {
        "attempt": txn.attempt,
        "status": "open",
        "source_epoch": pipeline.source_epoch,
        "quarantined_at": now,
    }
    made = {"quarantine_id": [f"{topic}:{partition}:{offset}" for topic, partition, offset in places]}
    made |= {name: raw[name].combine_chunks() for name in ("key", "value", "headers")}
    return _table(QUARANTINE.schema, rows, constant, made)


def current_rows(batch: PlannedBatch, effects: Effects, model_version: str) -> pa.Table:
    """The new state of every key that moved. Columns out: EMBEDDING_CURRENT without bucket."""
    moved = batch.planned.filter(pc.is_valid(batch.planned["move"]))
    keys = _keys(moved)
    moves = moved["move"].combine_chunks()
    columns: dict[str, Any] = {f.name: moves.field(f.name) for f in moves.type}
    known = columns["input_hash"].to_pylist()
    columns["input_hash"] = [effects.input_hash.get(k, old) for k, old in zip(keys, known, strict=True)]
    columns["available_at"] = [effects.available_at(k) if k in effects.results else None for k in keys]
    schema = EMBEDDING_CURRENT.schema
    schema = schema.remove(schema.get_field_index("bucket"))
    return _table(schema, moved, {"model_version": model_version}, columns)


def _keys(rows: pa.Table) -> list[Key]:
    return [Key(*key) for key in zip(rows["entity_type"].to_pylist(), rows["entity_id"].to_pylist(), strict=True)]


def _writer(txn: Txn) -> dict[str, Any]:
    return {"writer_query": txn.stable_id, "writer_batch": txn.version}


def _table(
    schema: pa.Schema, rows: pa.Table, constant: Mapping[str, Any], made: Mapping[str, Any] | None = None
) -> pa.Table:
    """Fill a table's columns from made ones, else constants, else the planned rows'."""
    made = made or {}
    arrays = []
    for field in schema:
        if field.name in made:
            arrays.append(pa.array(made[field.name], field.type))
        elif field.name in constant:
            arrays.append(pa.repeat(pa.scalar(constant[field.name], field.type), rows.num_rows))
        else:
            arrays.append(rows[field.name].combine_chunks())
    return pa.Table.from_arrays(arrays, schema=schema)
