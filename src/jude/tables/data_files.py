"""Parquet files of a table: written with the statistics that readers prune by, read back into a table's schema."""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs as pa_fs

from jude.errors import TerminalTableError
from jude.planning.rows import UTC
from jude.tables.delta_log import Action, DataFile, Partition
from jude.tables.failures import damage_named
from jude.tables.spec import TableSpec

MAX_STATISTIC_CHARS: Final = 64  # a position has 53; longer values get a shortened low and no high
SMALL_FILE_BYTES: Final = 4 * 1024**2
STORE_ROW_GROUP_ROWS: Final = 2_000  # a hit reads one row group: 3 MB at 384 float32
_LOW_CARDINALITY: Final = ("status", "topic", "op", "origin", "dtype", "writer_query", "error_class")
_IN_CHECK: Final = re.compile(r"(\w+) IN \(((?:'\w+'(?:, )?)+)\)")


def statistics_columns(spec: TableSpec) -> tuple[str, ...]:
    """Name the columns with file statistics: key, position, times; a text's or a vector's would only cost."""
    primitive = (pa.string(), pa.int32(), pa.int64(), UTC)
    # A merged file holds entities of all times: ranges of its clocks would prune nothing.
    times = () if "bucket" in spec.partition_by else ("source_ts", "available_at", "ingested_at", "embedded_at")
    wanted = {*spec.natural_key, "position", *times}
    return tuple(
        c.name for c in spec.columns if c.name in wanted and c.type in primitive and c.name not in spec.partition_by
    )


def conform(spec: TableSpec, rows: pa.Table, ignore: Sequence[str] = ()) -> pa.Table:
    """Bring rows into a table's columns, types and order; absent nullable columns become null.

    Raises TerminalTableError on an unknown column, a type that does not cast, a null or a value the table refuses.
    """
    unknown = set(rows.column_names) - {c.name for c in spec.columns}
    if unknown:
        raise TerminalTableError(f"{spec.name} has no column {', '.join(sorted(unknown))}: fix the writer or migrate.")
    names = [c.name for c in spec.columns if c.name not in ignore]
    schema = pa.schema([spec.schema.field(n) for n in names])
    columns = []
    for field in schema:
        column = rows.column(field.name) if field.name in rows.column_names else pa.nulls(rows.num_rows, field.type)
        if column.type != field.type:
            column = _cast(spec, field, column)
        if not field.nullable and column.null_count:
            raise TerminalTableError(f"{spec.name}.{field.name} must not be null: {column.null_count} rows are.")
        columns.append(column)
    whole = pa.table(columns, schema=schema)
    for name, check in spec.checks.items():
        _hold_check(spec, name, check, whole)
    return whole


def _cast(spec: TableSpec, field: pa.Field, column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return column.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise TerminalTableError(
            f"{spec.name}.{field.name} is {field.type}, the rows bring {column.type}: {error}"
        ) from error


def _hold_check(spec: TableSpec, name: str, check: str, rows: pa.Table) -> None:
    """Hold a CHECK constraint of the form `column IN ('a', 'b')`: the only form that the tables use."""
    form = _IN_CHECK.fullmatch(check)
    if form is None:
        raise NotImplementedError(f"{spec.name}.{name}: the native writer cannot hold CHECK ({check})")
    allowed = pa.array(re.findall(r"'(\w+)'", form[2]))
    wrong = pc.filter(rows.column(form[1]), pc.invert(pc.is_in(rows.column(form[1]), value_set=allowed)))
    if len(wrong):
        raise TerminalTableError(f"{spec.name}.{form[1]} must be one of {allowed.to_pylist()}, not {wrong[0]}.")


def split(spec: TableSpec, rows: pa.Table) -> list[tuple[Partition, pa.Table]]:
    """Deal rows out to their partitions."""
    if not spec.partition_by:
        return [((), rows)]
    columns = [rows.column(c).to_pylist() for c in spec.partition_by]
    places: dict[Partition, list[int]] = {}
    for place, values in enumerate(zip(*columns, strict=True)):
        places.setdefault(tuple(str(v) for v in values), []).append(place)
    return [(p, rows if len(at) == rows.num_rows else rows.take(pa.array(at))) for p, at in places.items()]


def write_file(
    files_at: pa_fs.FileSystem, spec: TableSpec, partition: Partition, rows: pa.Table, file_id: str, now_ms: int
) -> Action:
    """Write one Parquet file and give its `add` action; nothing is visible before the commit."""
    values = dict(zip(spec.partition_by, partition, strict=True))
    folder = "/".join(f"{c}={urllib.parse.quote(v, safe='')}" for c, v in values.items())
    path = f"{folder}/part-{file_id}.parquet" if folder else f"part-{file_id}.parquet"
    body = rows.select([c for c in rows.column_names if c not in spec.partition_by])
    with _opened(files_at, folder, path) as stream:
        pq.write_table(
            body,
            stream,
            compression="snappy",
            use_dictionary=[c for c in _LOW_CARDINALITY if c in body.column_names],
            row_group_size=STORE_ROW_GROUP_ROWS if "vector" in body.column_names else 65_536,
            store_schema=False,  # the Delta log knows the types; the copy cost 0.5 ms per file
            write_statistics=[c for c in statistics_columns(spec) if c in body.column_names],
        )
        size_bytes = stream.tell()
    return {
        "add": {
            "path": urllib.parse.quote(path, safe="/=-_.~"),
            "partitionValues": values,
            "size": size_bytes,
            "modificationTime": now_ms,
            "dataChange": True,
            "stats": json.dumps(_statistics(spec, body), separators=(",", ":")),
        }
    }


def _opened(files_at: pa_fs.FileSystem, folder: str, path: str) -> pa.NativeFile:
    """Open a new file, making its folder only if it is missing (asking each time took as long as a small file)."""
    try:
        return files_at.open_output_stream(path)
    except FileNotFoundError:
        files_at.create_dir(folder, recursive=True)
        return files_at.open_output_stream(path)


def remove_action(spec: TableSpec, file: DataFile, now_ms: int) -> Action:
    """Give the `remove` action of a file that a commit replaces."""
    return {
        "remove": {
            "path": file.path,
            "deletionTimestamp": now_ms,
            "dataChange": True,
            "extendedFileMetadata": True,
            "partitionValues": dict(zip(spec.partition_by, file.partition, strict=True)),
            "size": file.size_bytes,
        }
    }


def _statistics(spec: TableSpec, rows: pa.Table) -> dict[str, Any]:
    low: dict[str, Any] = {}
    high: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    for name in statistics_columns(spec):
        column = rows.column(name)
        nulls[name] = column.null_count
        ends = pc.min_max(column).as_py()
        if ends["min"] is not None:
            low[name] = _bound(ends["min"], up=False)
            if (bound := _bound(ends["max"], up=True)) is not None:
                high[name] = bound
    return {"numRecords": rows.num_rows, "minValues": low, "maxValues": high, "nullCount": nulls}


def _bound(value: Any, up: bool) -> Any:  # noqa: ANN401  a statistic has its column's type
    """Write a bound as the Delta protocol wants it: shortened strings, milliseconds; never inside the true range."""
    if isinstance(value, datetime):
        value = value + timedelta(microseconds=999) if up else value
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, str) and len(value) > MAX_STATISTIC_CHARS:
        return None if up else value[:MAX_STATISTIC_CHARS]
    return value


def read_file(
    files_at: pa_fs.FileSystem, spec: TableSpec, file: DataFile, columns: Iterable[str] | None = None
) -> pa.Table:
    """Read a file's columns (all but the partition columns by default) in the table's types."""
    wanted = tuple(columns) if columns is not None else tuple(c.name for c in spec.columns)
    stored = [c for c in wanted if c not in spec.partition_by]
    # Spark writes timestamps as INT96 without a zone; Delta's are UTC.
    with damage_named(lambda: f"{spec.name}: the file {file.file}"), files_at.open_input_file(file.file) as source:
        # A small file is read at once and without threads: 0.6 ms of CPU instead of 1.0.
        small = file.size_bytes <= SMALL_FILE_BYTES
        opened = pq.ParquetFile(pa.BufferReader(source.read()) if small else source, coerce_int96_timestamp_unit="us")
        found = opened.read(columns=stored, use_threads=not small)
    return as_schema(found, readable(spec, stored))


def readable(spec: TableSpec, columns: Iterable[str]) -> pa.Schema:
    """Give the schema of rows read back: files do not say that a column is never null."""
    return pa.schema([(c, spec.schema.field(c).type) for c in columns])


def as_schema(found: pa.Table, schema: pa.Schema) -> pa.Table:
    """Give the schema's columns in its types; a column younger than the file is null."""
    if found.schema.equals(schema):
        return found
    return pa.table(
        [
            found.column(f.name).cast(f.type) if f.name in found.column_names else pa.nulls(found.num_rows, f.type)
            for f in schema
        ],
        schema=schema,
    )


def with_partition(rows: pa.Table, spec: TableSpec, partition: Partition) -> pa.Table:
    """Put the partition's values back as columns."""
    for name, value in zip(spec.partition_by, partition, strict=True):
        kind = spec.schema.field(name).type
        scalar: Mapping[str, Any] | Any = pa.scalar(value).cast(kind)
        rows = rows.append_column(name, pa.repeat(scalar, rows.num_rows))
    return rows
