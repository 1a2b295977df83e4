"""What readers see: guarded puts into the online store, before history, because history says when it was readable."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from jude.online.protocol import Put, PutResult, PutStatus
from jude.planning import Key, Reason
from jude.stream.pipeline import Pipeline
from jude.stream.vectors import Vectors

_SERVED = pa.array([Reason.CHANGED.value, Reason.DELETED.value])


@dataclass(slots=True)
class Effects:
    """The pointers that this batch moved, and what the online store said; at most one per key."""

    input_hash: dict[Key, str | None] = field(default_factory=dict)
    results: dict[Key, PutResult] = field(default_factory=dict)

    def available_at(self, key: Key) -> datetime | None:
        return self.results[key].available_at

    def stored_now(self, key: Key) -> bool:
        return self.results[key].status is PutStatus.STORED


def served(planned: pa.Table) -> pa.Table:
    """The rows that move a pointer: changed and deleted ones, at most one per key."""
    return planned.filter(pc.is_in(planned["reason"], value_set=_SERVED))


def put_online(planned: pa.Table, vectors: Vectors, pipeline: Pipeline) -> Effects:
    """Put every moved pointer. Columns in: PLANNED with inputs."""
    effects = Effects()
    puts: list[Put] = []
    columns = ("entity_type", "entity_id", "position", "input_hash")
    rows = served(planned)
    for entity_type, entity_id, position, input_hash in zip(*(rows[n].to_pylist() for n in columns), strict=True):
        data = vectors.found[input_hash].data if input_hash else None
        effects.input_hash[Key(entity_type, entity_id)] = input_hash
        puts.append(Put(pipeline.model_version, entity_type, entity_id, position, data, pipeline.dtype, pipeline.width))
    if puts:
        results = pipeline.online.put_many(puts, pipeline.clock())
        effects.results = dict(zip(effects.input_hash, results, strict=True))
    return effects
