"""Create, migrate and check the tables with delta-rs."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Final

import pyarrow as pa
from deltalake import DeltaTable, Field, Schema
from deltalake.exceptions import CommitFailedError, DeltaError

from jude.tables.fitting import (
    VERSION_PROPERTY,
    Found,
    delta_schema_json,
    migrate,
    require_buckets,
    require_columns,
    require_protocol,
    schema_version,
    table_properties,
)
from jude.tables.spec import SCHEMA_VERSION, Column, TableSpec

_TRIES: Final = 5
_PAUSE_SECONDS: Final = 0.1


def ensure_table(spec: TableSpec, where: str, storage_options: Mapping[str, str]) -> None:
    """Create the table, or migrate and check the one that is there. Raises TerminalTableError, CommitFailedError."""
    for _ in range(_TRIES - 1):
        try:
            return _ensure_table(spec, where, dict(storage_options) or None)
        except CommitFailedError:  # another process makes the same table just now
            time.sleep(_PAUSE_SECONDS)
    return _ensure_table(spec, where, dict(storage_options) or None)


def _ensure_table(spec: TableSpec, where: str, options: dict[str, str] | None) -> None:
    if not DeltaTable.is_deltatable(where, options):
        try:
            DeltaTable.create(
                where,
                schema=Schema.from_json(delta_schema_json(spec)),
                partition_by=list(spec.partition_by),
                name=spec.name,
                description=spec.comment,
                configuration=table_properties(spec),
                storage_options=options,
                raise_if_key_not_exists=False,
            )
        except DeltaError:
            if not DeltaTable.is_deltatable(where, options):  # else another process created it just now
                raise
    handle = DeltaTable(where, storage_options=options)
    require_protocol(found_in(handle), where)
    if migrate(spec, found_in(handle), _DeltaRsAlter(handle), where):
        handle.update_incremental()
    require_columns(spec, found_in(handle), where)
    require_buckets(spec, found_in(handle), where)
    for name, check in spec.checks.items():
        if f"delta.constraints.{name}" not in handle.metadata().configuration:
            handle.alter.add_constraint({name: check})


def check_handle(spec: TableSpec, handle: DeltaTable, where: str) -> None:
    """Refuse a table that the native writer would misread, or that `ensure` must look at first."""
    found = found_in(handle)
    require_protocol(found, where)
    require_columns(spec, found, where)
    if schema_version(found) > SCHEMA_VERSION:
        migrate(spec, found, _DeltaRsAlter(handle), where)  # raises: newer than this program


def found_in(handle: DeltaTable) -> Found:
    """Read what the table says of itself."""
    protocol, metadata = handle.protocol(), handle.metadata()
    return Found(
        min_reader=protocol.min_reader_version,
        min_writer=protocol.min_writer_version,
        features=[*(protocol.reader_features or []), *(protocol.writer_features or [])],
        schema=json.loads(handle.schema().to_json()),
        partition_by=tuple(metadata.partition_columns),
        properties=metadata.configuration,
    )


class _DeltaRsAlter:
    """What a migration may do, by delta-rs."""

    def __init__(self, handle: DeltaTable) -> None:
        self._handle = handle

    def add_column(self, column: Column) -> None:
        field = pa.field(column.name, column.type, nullable=True, metadata={"comment": column.comment})
        self._handle.alter.add_columns([Field.from_arrow(field)])

    def set_properties(self, properties: Mapping[str, str]) -> None:
        self._handle.alter.set_table_properties(dict(properties), raise_if_not_exists=False)

    def drop_check(self, name: str) -> None:
        self._handle.alter.drop_constraint(name, raise_if_not_exists=False)


__all__ = ["VERSION_PROPERTY", "check_handle", "ensure_table", "found_in"]
