"""Reading embedding_store by input_hash: by the index in memory, or by a scan when the store is too large for one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs as pa_fs

from jude.errors import TerminalTableError
from jude.tables.data_files import as_schema, read_file, readable
from jude.tables.delta_log import DataFile, TableLog
from jude.tables.failures import damage_named
from jude.tables.spec import EMBEDDING_STORE
from jude.tables.store_index import StoreIndex

STORED_SCHEMA: Final = readable(EMBEDDING_STORE, [c.name for c in EMBEDDING_STORE.columns if c.name != "model_version"])


class StoredVectors:
    """The vectors of one embedding_store. An index per model version is built at first use and follows the log."""

    def __init__(self, index_vectors: int) -> None:
        self._index_vectors = index_vectors
        self._indexes: dict[str, StoreIndex] = {}
        self._widths: dict[str, tuple[int, str]] = {}

    def fetch(
        self, log: TableLog, files_at: pa_fs.FileSystem, model_version: str, input_hashes: Sequence[str]
    ) -> pa.Table:
        """Give one row per input_hash that is stored."""
        wanted = sorted(set(input_hashes))
        found = [
            _rows_in(files_at, file, hashes) for file, hashes in self._candidates(log, files_at, model_version, wanted)
        ]
        rows = pa.concat_tables([STORED_SCHEMA.empty_table(), *found])
        first: dict[str, int] = {}
        for place, input_hash in enumerate(rows["input_hash"].to_pylist()):
            first.setdefault(input_hash, place)  # a rare double is legal: every reader takes one
        return rows.take(pa.array(list(first.values()), pa.int64())).combine_chunks()

    def missing(self, log: TableLog, files_at: pa_fs.FileSystem, rows: pa.Table) -> pa.Table:
        """Keep the rows whose (model_version, input_hash) the store does not hold."""
        versions, hashes = rows["model_version"].to_pylist(), rows["input_hash"].to_pylist()
        held: set[tuple[str, str]] = set()
        for version in set(versions):
            asked = [h for v, h in zip(versions, hashes, strict=True) if v == version]
            for file, candidates in self._candidates(log, files_at, version, asked):
                have = read_file(files_at, EMBEDDING_STORE, file, ("input_hash",))["input_hash"]
                inside = pc.is_in(pa.array(candidates), value_set=have.combine_chunks())
                held.update(
                    (version, h) for h, is_there in zip(candidates, inside.to_pylist(), strict=True) if is_there
                )
        return rows.filter(pa.array([k not in held for k in zip(versions, hashes, strict=True)]))

    def require_width(self, log: TableLog, files_at: pa_fs.FileSystem, rows: pa.Table, where: str) -> None:
        """Refuse vectors of another width or dtype than the version has. Raises TerminalTableError."""
        for version, dim, dtype in set(
            zip(*(rows[c].to_pylist() for c in ("model_version", "dim", "dtype")), strict=True)
        ):
            if version not in self._widths:
                sample = next((f for f in log.files([(version,)])), None)
                row = read_file(files_at, EMBEDDING_STORE, sample, ("dim", "dtype")).slice(0, 1) if sample else rows
                self._widths[version] = (row["dim"][0].as_py(), row["dtype"][0].as_py())
            if self._widths[version] != (dim, dtype):
                raise width_error(where, version, self._widths[version], (dim, dtype))

    def _candidates(
        self, log: TableLog, files_at: pa_fs.FileSystem, model_version: str, wanted: Sequence[str]
    ) -> Iterable[tuple[DataFile, list[str]]]:
        """Give the files that may hold some of the hashes, with those hashes."""
        if not wanted:
            return []
        files = {f.path: f for f in log.files([(model_version,)])}
        if sum(f.rows or 0 for f in files.values()) > self._index_vectors:
            self._indexes.pop(model_version, None)
            return [(f, list(wanted)) for f in files.values()]
        index = self._index(files_at, model_version, files)
        return [(files[path], hashes) for path, hashes in index.files_of(wanted).items()]

    def _index(self, files_at: pa_fs.FileSystem, model_version: str, files: Mapping[str, DataFile]) -> StoreIndex:
        """Give the index of these files: a file never changes, so only those that came and went are looked at."""
        index = self._indexes.setdefault(model_version, StoreIndex())
        for path in index.paths - files.keys():
            index.remove_file(path)
        index.add_files((path, _hashes_in(files_at, file)) for path, file in files.items() if path not in index.paths)
        return index


def width_error(where: str, version: str, found: tuple[int, str], made: tuple[int, str]) -> TerminalTableError:
    """Say that the vectors of one model version must have one width and number type."""
    return TerminalTableError(
        f"{where} holds vectors of {found[0]} {found[1]} numbers for model version {version}, the model makes "
        f"{made[0]} {made[1]}. Two widths cannot share a version: register a new model version and backfill it."
    )


def _hashes_in(files_at: pa_fs.FileSystem, file: DataFile) -> pa.ChunkedArray:
    return read_file(files_at, EMBEDDING_STORE, file, ("input_hash",))["input_hash"]


def _rows_in(files_at: pa_fs.FileSystem, file: DataFile, input_hashes: Sequence[str]) -> pa.Table:
    """Read the rows of these inputs: vectors only of the row groups that hold one."""
    wanted = pa.array(input_hashes)
    found = []
    name = f"{EMBEDDING_STORE.name}: the file {file.file}"
    with damage_named(lambda: name), files_at.open_input_file(file.file) as source:
        parquet = pq.ParquetFile(source, coerce_int96_timestamp_unit="us")
        for group in range(parquet.num_row_groups):
            hashes = parquet.read_row_group(group, columns=["input_hash"])["input_hash"]
            hashes = hashes.cast(pa.string())  # delta-rs leaves string_view behind when it rewrites a file
            inside = pc.is_in(hashes, value_set=wanted)
            if pc.any(inside).as_py():
                rows = as_schema(parquet.read_row_group(group), STORED_SCHEMA)
                found.append(rows.filter(inside))
    return pa.concat_tables([STORED_SCHEMA.empty_table(), *found])
