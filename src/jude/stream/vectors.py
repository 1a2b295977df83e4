"""Find or make the vector of every changed input: one inference per distinct input, none for a stored one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from jude.encoder.packing import as_bytes
from jude.planning import Reason
from jude.stream.pipeline import Pipeline
from jude.tables.protocol import Txn
from jude.tables.spec import EMBEDDING_STORE


@dataclass(frozen=True, slots=True)
class Vector:
    """A vector as it is stored."""

    data: bytes
    embedded_at: datetime
    own: bool  # made by this batch (now, or by an earlier try of it): counts as an inference


@dataclass(slots=True)
class Vectors:
    """What a batch's changed inputs led to, by input_hash."""

    found: dict[str, Vector] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    new_rows: pa.Table = field(default_factory=EMBEDDING_STORE.schema.empty_table)
    repeated: frozenset[str] = frozenset()  # inputs that an earlier, lost try of this batch was at


def find_vectors(planned: pa.Table, pipeline: Pipeline, txn: Txn) -> Vectors:
    """Look the distinct inputs up in the store, encode the misses. Columns in: PLANNED with inputs."""
    inputs = _distinct_inputs(planned)
    vectors = Vectors()
    if inputs.num_rows == 0:
        return vectors
    hashes = inputs["input_hash"].to_pylist()
    stored = pipeline.tables.stored(pipeline.model_version, hashes)
    vectors.found = _stored_vectors(stored, txn)
    misses = inputs.filter(pc.invert(pc.is_in(inputs["input_hash"], value_set=stored["input_hash"].combine_chunks())))
    if misses.num_rows:
        _encode(misses, vectors, pipeline, txn)
    return vectors


def _distinct_inputs(planned: pa.Table) -> pa.Table:
    changed = planned.filter(pc.equal(planned["reason"], Reason.CHANGED.value))
    inputs = changed.select(["input_hash", "token_ids", "n_tokens", "truncated"])
    first: dict[str, int] = {}
    for row, input_hash in enumerate(inputs["input_hash"].to_pylist()):
        first.setdefault(input_hash, row)
    return inputs.take(pa.array(list(first.values()), pa.int64()))


def _stored_vectors(stored: pa.Table, txn: Txn) -> dict[str, Vector]:
    columns = ("input_hash", "vector", "embedded_at", "writer_query", "writer_batch")
    rows = zip(*(stored[name].to_pylist() for name in columns), strict=True)
    own = (txn.stable_id, txn.version)
    return {input_hash: Vector(data, at, (query, batch) == own) for input_hash, data, at, query, batch in rows}


def _encode(misses: pa.Table, vectors: Vectors, pipeline: Pipeline, txn: Txn) -> None:
    token_ids = dict(zip(misses["input_hash"].to_pylist(), misses["token_ids"].to_pylist(), strict=True))
    lost = _note_attempt(token_ids, pipeline, txn)
    result = pipeline.encode(token_ids)
    vectors.repeated = lost - result.kept
    vectors.failed = dict(result.failed)
    embedded_at = pipeline.clock()
    data = {h: as_bytes(row, pipeline.dtype) for h, row in result.vectors.items()}
    vectors.found |= {h: Vector(raw, embedded_at, own=True) for h, raw in data.items()}
    made = misses.filter(pc.is_in(misses["input_hash"], value_set=pa.array(list(data), pa.string())))
    vectors.new_rows = _store_rows(made, data, embedded_at, pipeline, txn)


def _store_rows(
    made: pa.Table, data: Mapping[str, bytes], embedded_at: datetime, pipeline: Pipeline, txn: Txn
) -> pa.Table:
    constant = {
        "model_version": pipeline.model_version,
        "dtype": pipeline.dtype,
        "dim": pipeline.width,
        "embedded_at": embedded_at,
        "writer_query": txn.stable_id,
        "writer_batch": txn.version,
    }
    hashes: Sequence[str] = made["input_hash"].to_pylist()
    arrays = []
    for column in EMBEDDING_STORE.schema:
        if column.name == "vector":
            arrays.append(pa.array([data[h] for h in hashes], column.type))
        elif column.name in constant:
            arrays.append(pa.repeat(pa.scalar(constant[column.name], column.type), len(hashes)))
        else:
            arrays.append(made[column.name].combine_chunks())
    return pa.Table.from_arrays(arrays, schema=EMBEDDING_STORE.schema)


def _note_attempt(token_ids: Mapping[str, Sequence[int]], pipeline: Pipeline, txn: Txn) -> frozenset[str]:
    """Remember what is about to be encoded; tell which of it an earlier, lost try of this batch was at."""
    path = pipeline.attempts_file
    if path is None:
        return frozenset()
    identity = f"{txn.stable_id}:{txn.version}"
    try:
        before = orjson.loads(path.read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        before = {}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_bytes(orjson.dumps({"batch": identity, "inputs": list(token_ids)}))
    partial.replace(path)
    return frozenset(token_ids.keys() & set(before["inputs"])) if before.get("batch") == identity else frozenset()
