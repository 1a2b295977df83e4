"""Filling a lost online store from the tables.

`available_at` of a rebuilt row is the moment of the rebuild: this store has served the vector since then, not since the
original put. The original stays where it belongs, in embedding_history, and is not touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, islice
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jude.online.protocol import OnlineStore, Put, PutStatus
from jude.tables.reading import current_pointers, model_of_alias
from jude.tables.vectors import scan_vectors

PUTS_PER_TRANSACTION: Final = 500
_KEY: Final = ("model_version", "entity_type", "entity_id", "position")
ALIASES: Final = ("current", "next", "previous")


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild did; `already_there` were put meanwhile (by the stream, or an earlier rebuild)."""

    vectors: int
    tombstones: int
    already_there: int
    without_vector: int
    """Live pointers whose vector is not in embedding_store: repair them by `reconcile`."""


def rebuild(
    store: OnlineStore,
    root: str | Path,
    model_version: str,
    now: Callable[[], datetime],
    progress: Callable[[int], None] = lambda puts: None,
) -> Rebuilt:
    """Put the current vectors and tombstones of one model version, and the aliases that it holds.

    Safe beside a running stream and safe to repeat: every put is guarded. The store is read once as a stream, the
    pointers (about 150 B each) are held in memory. `progress` gets the number of puts so far.
    Raises as the readers of the tables and the store do.
    """
    live = current_pointers(root, None, model_version, "live")
    deleted = current_pointers(root, None, model_version, "deleted")
    counts = {"vectors": 0, "tombstones": 0, "already_there": 0}
    done = 0
    puts = chain(_tombstones(deleted), _vectors(root, model_version, live))
    while batch := list(islice(puts, PUTS_PER_TRANSACTION)):
        for put, result in zip(batch, store.put_many(batch, now()), strict=True):
            kind = "tombstones" if put.vector is None else "vectors"
            counts[kind if result.status == PutStatus.STORED else "already_there"] += 1
        done += len(batch)
        progress(done)
    for alias in ALIASES:
        if model_of_alias(root, alias) == model_version:
            store.flip(alias, model_version)
    return Rebuilt(**counts, without_vector=live.num_rows + deleted.num_rows - done)


def _tombstones(deleted: pa.Table) -> Iterator[Put]:
    for row in deleted.select(list(_KEY)).to_pylist():
        yield Put(**row, vector=None, dtype="float32", dim=0)


def _vectors(root: str | Path, model_version: str, live: pa.Table) -> Iterator[Put]:
    """Give one put per live pointer, in the order of the stored vectors."""
    wanted_H = pc.unique(live["input_hash"].drop_null().combine_chunks())
    number = pc.fill_null(pc.index_in(live["input_hash"], value_set=wanted_H), len(wanted_H)).to_numpy()
    order = np.argsort(number, kind="stable")
    first = np.searchsorted(number[order], np.arange(len(wanted_H) + 1))
    for numbers, stored in scan_vectors(root, model_version, wanted_H):
        for hash_number, row in zip(numbers.tolist(), stored.to_pylist(), strict=True):
            entities = live.take(pa.array(order[first[hash_number] : first[hash_number + 1]]))
            for key in entities.select(list(_KEY)).to_pylist():
                yield Put(**key, vector=row["vector"], dtype=row["dtype"], dim=row["dim"])
