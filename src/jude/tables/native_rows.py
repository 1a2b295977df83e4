"""Rows that the native writer looks for in a table's files: only files whose statistics allow for them are read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import fs as pa_fs

from jude.tables.data_files import read_file, split, with_partition
from jude.tables.delta_log import DataFile, TableLog
from jude.tables.protocol import TextKey, Txn, written_by
from jude.tables.spec import TEXT_HISTORY


def missing_rows(log: TableLog, files_at: pa_fs.FileSystem, rows: pa.Table) -> pa.Table:
    """Anti-join on the natural key: the rows that the table does not hold."""
    spec = log.spec
    key = list(spec.natural_key)
    have: list[pa.Table] = []
    ranges = {c: pc.min_max(rows[c]).as_py() for c in key if c not in spec.partition_by}
    ranges = {c: ends for c, ends in ranges.items() if isinstance(ends["min"], (str, int))}
    for file in log.files({partition for partition, _ in split(spec, rows)}):
        if all(file.may_hold(c, ends["min"], ends["max"]) for c, ends in ranges.items()):
            found = with_partition(read_file(files_at, spec, file, key), spec, file.partition)
            have.append(found.select(key))
    if not have:
        return rows
    known = set(_key_rows(pa.concat_tables(have), key))
    return rows.filter(pa.array([k not in known for k in _key_rows(rows, key)]))


def rows_of(log: TableLog, files_at: pa_fs.FileSystem, txn: Txn) -> list[tuple[DataFile, pa.Table]]:
    """Give the files that hold rows of this txn, each with the other rows in it."""
    holding = []
    its = written_by(log.spec, txn)
    for file in log.files():
        if not all(file.may_hold(name, value, value) for name, value in its.items()):
            continue
        rows = with_partition(read_file(files_at, log.spec, file), log.spec, file.partition)
        ours = reduce(pc.and_, (pc.equal(rows[name], value) for name, value in its.items()))
        if pc.any(ours).as_py():
            holding.append((file, rows.filter(pc.invert(ours))))
    return holding


def fields_at(log: TableLog, files_at: pa_fs.FileSystem, keys: set[TextKey]) -> dict[TextKey, dict[str, str]]:
    """Read the raw text columns that text_history holds at these positions."""
    found: dict[TextKey, dict[str, str]] = {}
    for entity_type in {key.entity_type for key in keys}:
        wanted = {key for key in keys if key.entity_type == entity_type}
        for file in log.files([(entity_type,)]):
            if any(_may_hold(file, key) for key in wanted):
                found.update(_fields_in(files_at, file, entity_type, wanted - found.keys()))
    return found


def _may_hold(file: DataFile, key: TextKey) -> bool:
    return file.may_hold("position", key.position, key.position) and file.may_hold(
        "entity_id", key.entity_id, key.entity_id
    )


def _fields_in(
    files_at: pa_fs.FileSystem, file: DataFile, entity_type: str, keys: set[TextKey]
) -> dict[TextKey, dict[str, str]]:
    if not keys:
        return {}
    columns = ("entity_id", "position", "fields")
    rows = read_file(files_at, TEXT_HISTORY, file, columns)
    rows = rows.filter(pc.is_in(rows["position"], value_set=pa.array({k.position for k in keys})))
    found = {}
    for entity_id, position, fields in zip(*(rows[c].to_pylist() for c in columns), strict=True):
        key = TextKey(entity_type, entity_id, position)
        if key in keys and fields is not None:
            found[key] = dict(fields)
    return found


def _key_rows(rows: pa.Table, key: Sequence[str]) -> Iterable[tuple[object, ...]]:
    return zip(*(rows[c].to_pylist() for c in key), strict=True)
