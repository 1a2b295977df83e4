"""Vectors out of embedding_store without Spark: by hash, as a stream, and exact search. One row per input_hash."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jude.errors import TerminalTableError
from jude.tables.protocol import TextKey
from jude.tables.reading import current_pointers, scan, titles

# N vectors of a chunk, D width, H distinct live hashes
SNIPPET_CHARACTERS: Final = 160
_NUMBER: Final[dict[str, np.dtype[Any]]] = {"float32": np.dtype("<f4"), "bfloat16": np.dtype("<u2")}


@dataclass(frozen=True, slots=True)
class Hit:
    """A search result: cosine to the query, title and the beginning of the text as it is now."""

    entity_id: str
    score: float
    title: str
    snippet: str
    input_hash: str


def decode_vectors(rows: pa.RecordBatch | pa.Table) -> NDArray[np.float32]:
    """Decode the columns vector, dtype and dim of some rows to float32 [rows, dim].

    Raises TerminalTableError when the rows differ in width or dtype, or hold other bytes than those say.
    """
    kinds = set(zip(rows["dtype"].to_pylist(), rows["dim"].to_pylist(), strict=True))
    if not kinds:
        return np.empty((0, 0), dtype=np.float32)
    if len(kinds) > 1 or next(iter(kinds))[0] not in _NUMBER:
        raise TerminalTableError(f"embedding_store holds vectors of {sorted(kinds)} in one model version: erase one.")
    ((dtype, dim),) = kinds
    data = b"".join(rows["vector"].to_pylist())
    if len(data) != rows.num_rows * dim * _NUMBER[dtype].itemsize:
        raise TerminalTableError(f"embedding_store holds vectors that are not {dim} numbers of {dtype}: repair it.")
    numbers_ND = np.frombuffer(data, dtype=_NUMBER[dtype]).reshape(rows.num_rows, dim)
    if dtype == "bfloat16":  # the upper half of a float32
        numbers_ND = (numbers_ND.astype(np.uint32) << np.uint32(16)).view(np.float32)
    vectors_ND: NDArray[np.float32] = numbers_ND.astype(np.float32, copy=False)
    return vectors_ND


def scan_vectors(
    root: str | Path, model_version: str, wanted: pa.Array | None = None
) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
    """Stream the stored vectors of a model version: (numbers of the hashes in `wanted`, their rows), each hash once.

    Columns out: input_hash, vector, dtype, dim. Without `wanted` the numbers count the rows.
    """
    columns = ("input_hash", "vector", "dtype", "dim")
    met: set[str] = set()
    seen = _nothing_seen(0 if wanted is None else len(wanted))
    counted = 0
    for batch in scan(root, "embedding_store", columns, pc.field("model_version") == model_version):
        if wanted is None:
            places = _first_places(batch["input_hash"], met)
            numbers = np.arange(counted, counted + len(places), dtype=np.int64)
        else:
            numbers, places = _wanted_places(batch["input_hash"], wanted, seen)
        counted += len(places)
        if len(places):
            yield numbers, pa.Table.from_batches([batch]).take(pa.array(places))


def vectors_of(
    root: str | Path, model_version: str, input_hashes: Sequence[str] | None = None
) -> tuple[list[str], NDArray[np.float32]]:
    """Read vectors, all of a model version or those of some hashes: (hashes, float32 [hashes, dim]).

    Hashes that are not stored are left out. All vectors of a large version may not fit in memory: use `scan_vectors`.
    """
    wanted = None if input_hashes is None else pa.array(list(dict.fromkeys(input_hashes)), pa.string())
    chunks = [rows for _, rows in scan_vectors(root, model_version, wanted)]
    if not chunks:
        return [], np.empty((0, 0), dtype=np.float32)
    rows = pa.concat_tables(chunks)
    return rows["input_hash"].to_pylist(), decode_vectors(rows)


def search(
    root: str | Path,
    query_vector: NDArray[np.float32],
    entity_type: str,
    model_version: str,
    k: int = 5,
    title_field: str = "title",
) -> list[Hit]:
    """Find the k live entities with the highest cosine to a query, exactly, streaming over the store.

    query_vector: float32 [dim]. Entities that share a vector are all found; ties are ordered by entity_id.
    Raises TerminalTableError when the query's width is not that of the stored vectors.
    """
    pointers = current_pointers(root, entity_type, model_version)
    live_H = pc.unique(pointers["input_hash"].drop_null().combine_chunks())
    score_of = _best(root, query_vector, model_version, live_H, k)
    where = pc.is_in(pointers["input_hash"], value_set=pa.array(list(score_of), pa.string()))
    found = pointers.filter(where).select(["entity_id", "input_hash", "text_position", "position"]).to_pylist()
    found.sort(key=lambda row: (-score_of[row["input_hash"]], row["entity_id"]))
    keys = [TextKey(entity_type, row["entity_id"], row["text_position"] or row["position"]) for row in found[:k]]
    named = titles(root, keys, title_field)
    hits = []
    for row, key in zip(found, keys, strict=False):
        title, text = (named[key].title, named[key].text) if key in named else ("", "")
        score = score_of[row["input_hash"]]
        hits.append(Hit(row["entity_id"], score, title, _snippet(text), row["input_hash"]))
    return hits


def _best(
    root: str | Path, query_vector: NDArray[np.float32], model_version: str, live_H: pa.Array, k: int
) -> dict[str, float]:
    """Give the k best hashes with their cosine."""
    query_D = np.asarray(query_vector, dtype=np.float32)
    query_D = query_D / (np.linalg.norm(query_D) or 1.0)
    best_numbers, best_scores = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
    for numbers, rows in scan_vectors(root, model_version, live_H):
        vectors_ND = decode_vectors(rows)
        if vectors_ND.shape[1] != len(query_D):
            raise TerminalTableError(
                f"The query has {len(query_D)} numbers, the vectors of {model_version} have {vectors_ND.shape[1]}: "
                "encode the query with the same model version."
            )
        norms_N = np.linalg.norm(vectors_ND, axis=1)
        scores_N = (vectors_ND @ query_D) / np.where(norms_N > 0, norms_N, 1.0)
        best_numbers = np.concatenate([best_numbers, numbers])
        best_scores = np.concatenate([best_scores, scores_N])
        kept = np.argsort(-best_scores, kind="stable")[:k]
        best_numbers, best_scores = best_numbers[kept], best_scores[kept]
    hashes = live_H.take(pa.array(best_numbers)).to_pylist()
    return dict(zip(hashes, best_scores.tolist(), strict=True))


def _nothing_seen(hashes: int) -> NDArray[np.bool_]:
    """Mark nothing as seen; the extra last place, number -1, stands for every hash that is not wanted."""
    seen = np.zeros(hashes + 1, dtype=bool)
    seen[-1] = True
    return seen


def _wanted_places(
    input_hashes: pa.Array, wanted: pa.Array, seen: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give (numbers in `wanted`, rows) of the hashes met for the first time, and mark them as seen."""
    number = pc.fill_null(pc.index_in(input_hashes, value_set=wanted), -1).to_numpy(zero_copy_only=False)
    fresh = np.flatnonzero(~seen[number])
    numbers, firsts = np.unique(number[fresh], return_index=True)
    seen[numbers] = True
    return numbers.astype(np.int64), fresh[firsts]


def _first_places(input_hashes: pa.Array, seen: set[str]) -> NDArray[np.int64]:
    places = []
    for place, input_hash in enumerate(input_hashes.to_pylist()):
        if input_hash not in seen:
            seen.add(input_hash)
            places.append(place)
    return np.array(places, dtype=np.int64)


def _snippet(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SNIPPET_CHARACTERS else line[: SNIPPET_CHARACTERS - 1].rstrip() + "…"
