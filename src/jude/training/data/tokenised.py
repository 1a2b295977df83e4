"""Every distinct text is tokenised once, and kept as an Arrow file that all ranks map into memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jude.encoder.protocol import ModelInput
from jude.training.data.pairs import data_hash
from jude.training.writing import written

Ints = NDArray[np.int64]


class Inputs(Protocol):
    """Texts of an entity type to model inputs, prompt and truncation included: `jude.encoder`'s tokenisers do."""

    def inputs(self, entity_type: str, texts: list[str]) -> list[ModelInput]: ...


@dataclass(frozen=True, slots=True)
class TokenisedPairs:
    """Pairs as numbers. Inputs are numbered over the whole data set: equal number, equal token ids, equal vector."""

    pairs: pa.Table
    hash: str
    ids: pa.ListArray  # of each input
    lengths: Ints  # of each input
    query: Ints  # of each pair: its input
    document: Ints
    label: NDArray[np.float32]
    query_group: Ints  # of each pair; -1: of no group
    document_group: Ints

    def __len__(self) -> int:
        return len(self.query)

    def token_ids(self, number: int) -> NDArray[np.int32]:
        """Give the token ids of one input, without copying."""
        start, end = self.ids.offsets[number].as_py(), self.ids.offsets[number + 1].as_py()
        ids: NDArray[np.int32] = self.ids.values.slice(start, end - start).to_numpy(zero_copy_only=True)
        return ids


def tokenise(pairs: pa.Table, tokeniser: Inputs, *, tokeniser_name: str, cache: Path | None = None) -> TokenisedPairs:
    """Tokenise checked pairs. `tokeniser_name` must change whenever the ids may: it names the file in the cache."""
    found_hash = data_hash(pairs)
    name = sha256(f"{tokeniser_name}\n{found_hash}".encode()).hexdigest()[:16]
    file = cache / f"{name}.arrow" if cache else None
    if file is None or not file.exists():
        table = _tokenised(pairs, tokeniser)
        if file is None:
            return _numbered(pairs, found_hash, table)
        _write(file, table)
    with pa.memory_map(str(file)) as source:
        return _numbered(pairs, found_hash, pa.ipc.open_file(source).read_all())


def _tokenised(pairs: pa.Table, tokeniser: Inputs) -> pa.Table:
    """Columns out: ids, an input a row; the schema's metadata holds the inputs of both sides of each pair."""
    inputs: list[NDArray[np.int32]] = []
    places = {}
    for side in ("query", "document"):
        places[side] = np.empty(pairs.num_rows, np.int64)
        types = pairs[f"{side}_type"].to_numpy(zero_copy_only=False)
        for entity_type in np.unique(types):
            rows = np.flatnonzero(types == entity_type)
            encoded = pairs[f"{side}_text"].take(pa.array(rows)).combine_chunks().dictionary_encode()
            places[side][rows] = len(inputs) + encoded.indices.to_numpy()
            found = tokeniser.inputs(entity_type, encoded.dictionary.to_pylist())
            inputs += [np.asarray(each.token_ids, np.int32) for each in found]
    lists, numbers = numbered_inputs(inputs)
    kept = {side: numbers[place].tobytes() for side, place in places.items()}
    return pa.table({"ids": lists}).replace_schema_metadata(kept)


def numbered_inputs(inputs: Sequence[NDArray[np.int32]]) -> tuple[pa.ListArray, Ints]:
    """Keep each distinct input once: the inputs, and the number of each that was given."""
    numbers: dict[bytes, int] = {}
    numbered = np.asarray([numbers.setdefault(row.tobytes(), len(numbers)) for row in inputs], np.int64)
    distinct = [np.frombuffer(key, np.int32) for key in numbers]
    offsets = np.cumsum([0, *map(len, distinct)], dtype=np.int32)
    return pa.ListArray.from_arrays(offsets, np.concatenate(distinct)), numbered


def _write(file: Path, table: pa.Table) -> None:
    """Write beside the file and move: another rank, or a kill, never leaves half a file."""
    unfinished = file.with_suffix(f".{os.getpid()}")
    with written(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        with pa.ipc.new_file(str(unfinished), table.schema) as writer:
            writer.write_table(table.combine_chunks())
        unfinished.replace(file)


def _numbered(pairs: pa.Table, found_hash: str, table: pa.Table) -> TokenisedPairs:
    ids = table["ids"].chunk(0)
    query, document = (np.frombuffer(table.schema.metadata[side], np.int64) for side in (b"query", b"document"))
    groups = pa.chunked_array([*pairs["query_group"].chunks, *pairs["document_group"].chunks], pa.string())
    codes = pc.fill_null(groups.combine_chunks().dictionary_encode().indices, -1).to_numpy(zero_copy_only=False)
    return TokenisedPairs(
        pairs=pairs,
        hash=found_hash,
        ids=ids,
        lengths=np.diff(ids.offsets.to_numpy()).astype(np.int64),
        query=query,
        document=document,
        label=pairs["label"].to_numpy(),
        query_group=codes[: len(pairs)].astype(np.int64),
        document_group=codes[len(pairs) :].astype(np.int64),
    )
