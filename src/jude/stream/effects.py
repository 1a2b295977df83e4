"""What readers see: guarded puts into the online store, before history, because history says when it was readable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from jude.online.protocol import Put, PutResult
from jude.planning import Key, Reason
from jude.stream.pipeline import Pipeline
from jude.stream.vectors import Vectors

_SERVED = pa.array([Reason.CHANGED.value, Reason.DELETED.value])


class Move(NamedTuple):
    """A pointer that a batch moves; at most one per key."""

    key: Key
    position: str
    input_hash: str | None  # None: a delete


@dataclass(slots=True)
class Effects:
    """The pointers that this batch moved, and what the online store said; at most one per key."""

    input_hash: dict[Key, str | None] = field(default_factory=dict)
    results: dict[Key, PutResult] = field(default_factory=dict)

    def available_at(self, key: Key) -> datetime | None:
        return self.results[key].available_at


def served(planned: pa.Table) -> pa.Table:
    """The rows that move a pointer: changed and deleted ones, at most one per key."""
    return planned.filter(pc.is_in(planned["reason"], value_set=_SERVED))


def moves_of(planned: pa.Table) -> list[Move]:
    """Give the pointers that a batch moves. Columns in: PLANNED with inputs."""
    rows = served(planned)
    columns = (rows[name].to_pylist() for name in ("entity_type", "entity_id", "position", "input_hash"))
    return [Move(Key(*key), position, input_hash) for *key, position, input_hash in zip(*columns, strict=True)]


def put_online(moves: Sequence[Move], vectors: Vectors, effects: Effects, pipeline: Pipeline) -> list[Move]:
    """Put every move whose vector is there (a delete needs none); give those that wait for theirs."""
    ready = {m.key: m for m in moves if m.input_hash is None or m.input_hash in vectors.found}
    if ready:
        results = pipeline.online.put_many([_put(m, vectors, pipeline) for m in ready.values()], pipeline.clock())
        effects.input_hash |= {key: move.input_hash for key, move in ready.items()}
        effects.results |= zip(ready, results, strict=True)
    return [m for m in moves if m.key not in ready]


def _put(move: Move, vectors: Vectors, pipeline: Pipeline) -> Put:
    data = vectors.found[move.input_hash].data if move.input_hash else None
    return Put(pipeline.model_version, *move.key, move.position, data, pipeline.dtype, pipeline.width)
