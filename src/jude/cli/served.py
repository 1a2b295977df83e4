"""Where an entity's vector is now: its pointer, the store, and what the online store would answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from jude.cli.place import Place
from jude.online import OnlineVector, open_online
from jude.tables.reading import EntityHistory, Row
from jude.tables.vectors import decode_vectors, vectors_of


@dataclass(frozen=True, slots=True)
class Served:
    """The newest pointer of one model version, and how the online store compares with it."""

    model_version: str
    status: str
    position: str
    topic: str | None
    partition: int | None
    offset: int | None
    input_hash: str | None
    stored: bool
    online: str


def served_now(place: Place, history: EntityHistory) -> list[Served]:
    """Compare pointer, store and online store, per model version."""
    return [_served(place, row) for row in history.current.to_pylist()]


def _served(place: Place, row: Row) -> Served:
    hashes, vectors = vectors_of(place.root, row["model_version"], [row["input_hash"]] if row["input_hash"] else [])
    names = ("model_version", "status", "position", "topic", "partition", "offset", "input_hash")
    return Served(
        **{name: row[name] for name in names},
        stored=bool(hashes),
        online=_compared(place, row, vectors[0] if hashes else None),
    )


def _compared(place: Place, row: Row, stored_D: np.ndarray | None) -> str:
    online = place.settings.online
    if online.kind == "none":
        return "none is configured"
    if online.kind == "sqlite" and not Path(str(online.path)).exists():
        return f"there is no file {online.path}: `jude online rebuild`"
    store = open_online(online)
    try:
        (found,) = store.get_many(row["model_version"], row["entity_type"], [row["entity_id"]])
    finally:
        store.close()
    if found is None:
        return "no vector, as it should be" if row["status"] == "deleted" else "no vector: `jude online rebuild`"
    if row["status"] == "deleted":
        return "still serves a vector of a deleted entity: `jude online rebuild`"
    if stored_D is None:
        return "serves a vector that the store does not hold"
    same = np.array_equal(_decoded(found), stored_D)
    return "serves this vector" if same else "serves another vector: `jude online rebuild`"


def _decoded(found: OnlineVector) -> np.ndarray:
    row = pa.table({"vector": [found.vector], "dtype": [found.dtype], "dim": [found.dim]})
    decoded: np.ndarray = decode_vectors(row)[0]
    return decoded
