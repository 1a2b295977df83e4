"""Filling a lost online store from the tables, and comparing an intact one with them.

`available_at` of a rebuilt row is the moment of the rebuild: this store has served the vector since then, not since the
original put. The original stays where it belongs, in embedding_history, and is not touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jude.online.protocol import OnlineStore, OnlineVector, Put, PutStatus
from jude.tables.reading import current_pointers, model_of_alias
from jude.tables.vectors import scan_vectors

PUTS_PER_TRANSACTION: Final = 500
_KEY: Final = ("model_version", "entity_type", "entity_id", "position")
ALIASES: Final = ("current", "next", "previous")

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild did; `already_there` were right before it (put by the stream, or an earlier rebuild)."""

    vectors: int
    tombstones: int
    already_there: int
    without_vector: int
    """Live pointers whose vector is not in embedding_store: repair them by `reconcile`."""


@dataclass(frozen=True, slots=True)
class Verified:
    """How a store compares with the tables, in rows."""

    right: int
    newer: int
    """The store is ahead of the tables: a batch is under way, or newer tables were replaced by older ones."""
    missing: int
    wrong_vector: int
    undeleted: int
    repaired: int
    without_vector: int

    @property
    def wrong(self) -> int:
        """Rows that readers get wrong now."""
        return self.missing + self.wrong_vector + self.undeleted - self.repaired


def rebuild(
    store: OnlineStore, root: str | Path, model_version: str, now: Callable[[], datetime],
    progress: Progress = lambda puts: None,
) -> Rebuilt:  # fmt: skip
    """Put what the store lacks of one model version's vectors and tombstones, and the aliases that it holds.

    Safe beside a running stream and safe to repeat: every put is guarded, and a row that is right is left alone. (A
    skipped change moves the position in the tables only: by position alone each such row would be put again, with a
    false available_at.) The stored vectors are read once as a stream, the pointers (about 150 B each) are held in
    memory. `progress` gets the number of rows so far. Raises as the readers of the tables and the store do.
    """
    counts = {"vectors": 0, "tombstones": 0, "already_there": 0}
    wanted = _Wanted(root, model_version)
    for batch in wanted.batches(progress):
        wrong = [put for put, verdict in _judge(store, batch) if verdict not in ("right", "newer")]
        for put, result in zip(wrong, store.put_many(wrong, now()), strict=True):
            kind = "tombstones" if put.vector is None else "vectors"
            counts[kind if result.status == PutStatus.STORED else "already_there"] += 1
        counts["already_there"] += len(batch) - len(wrong)
    for alias in ALIASES:
        if model_of_alias(root, alias) == model_version:
            store.flip(alias, model_version)
    return Rebuilt(**counts, without_vector=wanted.without_vector)


def verify(
    store: OnlineStore, root: str | Path, model_version: str, now: Callable[[], datetime] | None = None,
    progress: Progress = lambda puts: None,
) -> Verified:  # fmt: skip
    """Compare the store with the tables row by row; with a clock, put what is wrong.

    A tombstone that the store lacks is right: readers get nothing either way. What a guarded put cannot mend (another
    vector at the same position) stays counted as wrong. Raises as the readers of the tables and the store do.
    """
    counts = dict.fromkeys(("right", "newer", "missing", "wrong_vector", "undeleted", "repaired"), 0)
    wanted = _Wanted(root, model_version)
    for batch in wanted.batches(progress):
        judged = _judge(store, batch)
        for _, verdict in judged:
            counts["right" if verdict == "no_tombstone" else verdict] += 1
        wrong = [put for put, verdict in judged if verdict in ("missing", "wrong_vector", "undeleted")]
        if now is not None and wrong:
            counts["repaired"] += sum(r.status == PutStatus.STORED for r in store.put_many(wrong, now()))
    return Verified(**counts, without_vector=wanted.without_vector)


def _judge(store: OnlineStore, batch: list[Put]) -> list[tuple[Put, str]]:
    """Say of each put what the store holds in its place."""
    judged: list[tuple[Put, str]] = []
    for (model_version, entity_type), group in groupby(batch, key=lambda put: (put.model_version, put.entity_type)):
        puts = list(group)
        found = store.get_many(model_version, entity_type, [put.entity_id for put in puts])
        judged += [(put, _verdict(put, held)) for put, held in zip(puts, found, strict=True)]
    return judged


def _verdict(put: Put, held: OnlineVector | None) -> str:
    if held is None:
        return "no_tombstone" if put.vector is None else "missing"
    if held.position > put.position:
        return "newer"
    if put.vector is None:
        return "undeleted"
    return "right" if (held.vector, held.dtype, held.dim) == (put.vector, put.dtype, put.dim) else "wrong_vector"


class _Wanted:
    """What the store should hold of one model version, as puts."""

    def __init__(self, root: str | Path, model_version: str) -> None:
        self._live = current_pointers(root, None, model_version, "live")
        self._deleted = current_pointers(root, None, model_version, "deleted")
        self._root, self._model_version = root, model_version
        self._given = 0

    @property
    def without_vector(self) -> int:
        return int(self._live.num_rows + self._deleted.num_rows - self._given)

    def batches(self, progress: Progress) -> Iterator[list[Put]]:
        puts = chain(_tombstones(self._deleted), _vectors(self._root, self._model_version, self._live))
        while batch := list(islice(puts, PUTS_PER_TRANSACTION)):
            yield batch
            self._given += len(batch)
            progress(self._given)


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
