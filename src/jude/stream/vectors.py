"""Find or make the vector of every changed input: one inference per distinct input, none for a stored one.

The misses of a large batch are encoded in a few parts, so that the first ones need not wait for the last.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from jude.encoder.packing import as_bytes
from jude.planning import Reason
from jude.stream.pipeline import Pipeline
from jude.tables.protocol import Txn
from jude.tables.spec import EMBEDDING_STORE

PART_TOKENS: Final = 1024  # 0.1 s of MiniLM on two cores, where storing a part takes 10 ms
MOST_PARTS: Final = 4  # each is a commit and a file of embedding_store


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
    repeated: frozenset[str] = frozenset()  # inputs that an earlier, lost try of this batch was at


def look_up(planned: pa.Table, pipeline: Pipeline, txn: Txn) -> tuple[Vectors, list[pa.Table]]:
    """Look the distinct inputs up in the store: what was found, and the misses in the parts to encode them in.

    There is at least one part; it is empty where nothing is missed.
    Columns in: PLANNED with inputs. Columns out, of a part: input_hash, token_ids, n_tokens, truncated
    """
    inputs = _distinct_inputs(planned)
    vectors = Vectors()
    if inputs.num_rows == 0:
        return vectors, [inputs]
    hashes = inputs["input_hash"].to_pylist()
    stored = pipeline.tables.stored(pipeline.model_version, hashes)
    vectors.found = _stored_vectors(stored, txn)
    misses = inputs.filter(pc.invert(pc.is_in(inputs["input_hash"], value_set=stored["input_hash"].combine_chunks())))
    if not misses.num_rows:
        return vectors, [misses]
    vectors.repeated = _lost_inputs(pipeline, txn).intersection(misses["input_hash"].to_pylist())
    return vectors, _parts(misses, pipeline.part_tokens)


def _parts(misses: pa.Table, part_tokens: int | None) -> list[pa.Table]:
    """Cut into parts of about equally many tokens: as many as `part_tokens` asks for, MOST_PARTS at most."""
    ends = np.cumsum(misses["n_tokens"].to_numpy())
    parts = min(MOST_PARTS, max(1, int(ends[-1]) // part_tokens)) if part_tokens else 1
    cuts = [0, *np.searchsorted(ends, [ends[-1] * part / parts for part in range(1, parts)]) + 1, len(ends)]
    return [misses.slice(start, end - start) for start, end in itertools.pairwise(cuts) if end > start]


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


def encode_part(part: pa.Table, vectors: Vectors, pipeline: Pipeline, txn: Txn) -> pa.Table:
    """Encode one part of the misses into `vectors`. Columns out: EMBEDDING_STORE"""
    if not part.num_rows:
        return EMBEDDING_STORE.schema.empty_table()
    token_ids = dict(zip(part["input_hash"].to_pylist(), part["token_ids"].to_pylist(), strict=True))
    _note_attempt(token_ids, pipeline, txn)
    result = pipeline.encode(token_ids)
    vectors.repeated -= result.kept
    vectors.failed |= result.failed
    embedded_at = pipeline.clock()
    data = {h: as_bytes(row, pipeline.dtype) for h, row in result.vectors.items()}
    vectors.found |= {h: Vector(raw, embedded_at, own=True) for h, raw in data.items()}
    made = part.filter(pc.is_in(part["input_hash"], value_set=pa.array(list(data), pa.string())))
    return _store_rows(made, data, embedded_at, pipeline, txn)


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


def _lost_inputs(pipeline: Pipeline, txn: Txn) -> frozenset[str]:
    """What an earlier, lost try of this batch was about to encode when it died."""
    if pipeline.attempts_file is None:
        return frozenset()
    try:
        before = orjson.loads(pipeline.attempts_file.read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return frozenset()
    return frozenset(before["inputs"]) if before["batch"] == _identity(txn) else frozenset()


def _note_attempt(input_hashes: Iterable[str], pipeline: Pipeline, txn: Txn) -> None:
    path = pipeline.attempts_file
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_bytes(orjson.dumps({"batch": _identity(txn), "inputs": list(input_hashes)}))
    partial.replace(path)


def _identity(txn: Txn) -> str:
    return f"{txn.stable_id}:{txn.version}"
