"""Tables that already hold many entities, filled in bulk through the native writer, without any stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Final

import numpy as np
import pyarrow as pa

from benchmarks.measuring.machine import Progress
from jude.changes.position import Position
from jude.encoder.version import InputHasher
from jude.online.protocol import Put
from jude.stream.pipeline import Pipeline
from jude.tables.buckets import bucket
from jude.tables.protocol import Txn
from jude.tables.spec import EMBEDDING_CURRENT, EMBEDDING_HISTORY, EMBEDDING_STORE, TEXT_HISTORY, TableSpec

ENTITY: Final = "member"
TOPIC: Final = "jude.public.members"
SEED_LSN: Final = 1_000
_CHUNK: Final = 50_000
_THEN: Final = datetime(2026, 1, 1, tzinfo=UTC)
_POSITION: Final = str(Position(0, SEED_LSN, 1, 0, 0))


@dataclass(frozen=True)
class _Seeds:
    """What the rows of a chunk of entities share, and what each has of its own."""

    ids: list[str]
    number: int
    pipeline: Pipeline

    def columns(self) -> dict[str, Any]:
        version = self.pipeline.model_version
        entity = self.pipeline.entities[ENTITY]
        hasher = InputHasher(version, entity.prompt)
        digests = [blake2b(i.encode(), digest_size=16).hexdigest() for i in self.ids]
        fields = len(entity.text_fields)
        vectors = np.random.default_rng(self.number).standard_normal((len(self.ids), self.pipeline.width))
        return {
            "entity_id": self.ids,
            "input_hash": [hasher.hash((int(d[:7], 16), int(d[7:14], 16))) for d in digests],
            "text_hash": [f"{entity.render_version}:{d}" for d in digests],
            "columns_hash": [f"{entity.render_version}:" + ".".join([d[:16]] * fields) for d in digests],
            "text": [f"Headline: seeded {i}" for i in self.ids],
            "vector": [row.tobytes() for row in vectors.astype("<f4")],
            **self._constants(version),
        }

    def _constants(self, version: str) -> dict[str, Any]:
        return {
            "entity_type": ENTITY, "model_version": version, "status": "live", "position": _POSITION,
            "text_position": _POSITION,
            "topic": TOPIC, "partition": 0, "offset": 0, "op": "c", "origin": "stream", "dtype": self.pipeline.dtype,
            "dim": self.pipeline.width, "n_tokens": 2, "truncated": False, "writer_query": "seed",
            "writer_batch": self.number, "fields": None, "quarantined_position": None,
            **dict.fromkeys(("source_ts", "ingested_at", "embedded_at", "available_at"), _THEN),
        }  # fmt: skip


def entity_id(number: int) -> str:
    """The key of a seeded entity."""
    return f"m{number:07d}"


def seed(pipeline: Pipeline, entities: int, buckets: int) -> None:
    """Fill every table of a pipeline over native tables, and its online store, with `entities` live members."""
    progress = Progress("seeding entities", entities)
    done = 0
    for number, ids in enumerate(_whole_buckets(entities, buckets)):
        columns, txn = _Seeds(ids, number, pipeline).columns(), Txn("seed", "seed", number)
        for spec in (TEXT_HISTORY, EMBEDDING_STORE, EMBEDDING_HISTORY):
            pipeline.tables.append(spec.name, _rows(spec, columns, len(ids)), txn)
        pipeline.tables.merge_current(_rows(EMBEDDING_CURRENT, columns, len(ids)).drop_columns("bucket"), txn)
        puts = [
            Put(pipeline.model_version, ENTITY, i, _POSITION, vector, pipeline.dtype, pipeline.width)
            for i, vector in zip(ids, columns["vector"], strict=True)
        ]
        pipeline.online.put_many(puts, _THEN)
        done += len(ids)
        progress.at(done)


def _whole_buckets(entities: int, buckets: int) -> Iterator[list[str]]:
    """Chunks of keys that end where a bucket ends: each bucket becomes one file, as a MERGE leaves it."""
    dealt: list[list[str]] = [[] for _ in range(buckets)]
    for number in range(entities):
        dealt[bucket(ENTITY, entity_id(number), buckets)].append(entity_id(number))
    chunk: list[str] = []
    for ids in dealt:
        chunk += ids
        if len(chunk) >= _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _rows(spec: TableSpec, columns: dict[str, Any], rows: int) -> pa.Table:
    arrays = []
    for field in spec.schema:
        value = columns.get(field.name)
        made = pa.array(value, field.type) if isinstance(value, list) else pa.repeat(pa.scalar(value, field.type), rows)
        arrays.append(made)
    return pa.table(arrays, names=spec.schema.names)
