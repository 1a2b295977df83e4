"""Does a table that exists fit this version of JUDE? The same rules for both writers, and the way from old to new."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import pyarrow as pa
from deltalake import Schema

from jude.errors import TerminalTableError
from jude.tables.data_files import statistics_columns
from jude.tables.spec import EMBEDDING_CURRENT, SCHEMA_VERSION, TABLES, Column, TableSpec

VERSION_PROPERTY: Final = "jude.schema_version"
BUCKETS_PROPERTY: Final = "jude.buckets"
ALLOWED_FEATURES: Final = frozenset(
    {
        "appendOnly",
        "invariants",
        "checkConstraints",
        "changeDataFeed",
        "timestampNtz",
        "v2Checkpoint",
        "vacuumProtocolCheck",
    }
)
"""Table features under which both writers read and write the same rows."""
_WRITER_VERSION_OF_FEATURES: Final = 7
_MOST_LEGACY_WRITER: Final = 3  # 4 adds generated columns and change data feed, 5 column mapping, 6 identity columns
_MOST_LEGACY_READER: Final = 1  # 2 is column mapping


@dataclass(frozen=True, slots=True)
class Found:
    """What a Delta table says of itself."""

    min_reader: int
    min_writer: int
    features: Collection[str]
    schema: Mapping[str, Any]  # Delta's schema as parsed JSON
    partition_by: tuple[str, ...]
    properties: Mapping[str, str]


class Alter(Protocol):
    """What a migration may do to a table; each writer brings its own."""

    def add_column(self, column: Column) -> None: ...

    def set_properties(self, properties: Mapping[str, str]) -> None: ...

    def drop_check(self, name: str) -> None:
        """Drop a constraint; `ensure` adds the spec's."""
        ...


Migration = Callable[[TableSpec, Alter], None]
MIGRATIONS: Final[dict[tuple[str, int], Migration]] = {
    **{(name, 1): lambda spec, alter: alter.set_properties(retention(spec)) for name in TABLES},
    ("quarantine", 2): lambda spec, alter: alter.drop_check("status_known"),
}
"""(table, schema version it leads away from) -> migration to the next version; a table without one just moves on."""


def delta_schema_json(spec: TableSpec) -> str:
    """Write a table's columns, with comments, as Delta's schema JSON (Spark's StructType reads it too)."""
    fields = [
        pa.field(c.name, c.type, nullable=c.nullable, metadata={"comment": c.comment} if c.comment else None)
        for c in spec.columns
    ]
    return Schema.from_arrow(pa.schema(fields)).to_json()


def table_properties(spec: TableSpec) -> dict[str, str]:
    """Give the properties every table gets."""
    return {
        "delta.checkpointInterval": "100",
        "delta.dataSkippingStatsColumns": ",".join(statistics_columns(spec)),
        VERSION_PROPERTY: str(SCHEMA_VERSION),
        **retention(spec),
    }


def retention(spec: TableSpec) -> dict[str, str]:
    """Give how long a table's log and its replaced files are kept."""
    week = {"delta.logRetentionDuration": "interval 7 days", "delta.deletedFileRetentionDuration": "interval 7 days"}
    return week | spec.properties


def migrate(spec: TableSpec, found: Found, alter: Alter, where: str) -> bool:
    """Bring an older table up to SCHEMA_VERSION. Returns whether it was touched.

    Raises TerminalTableError when the table is newer than this program.
    """
    version = schema_version(found)
    if version > SCHEMA_VERSION:
        raise TerminalTableError(
            f"{where} has schema version {version}, this JUDE knows {SCHEMA_VERSION}: upgrade JUDE; "
            "an older program must not write a newer table."
        )
    for step in range(version, SCHEMA_VERSION):
        if (migration := MIGRATIONS.get((spec.name, step))) is not None:
            migration(spec, alter)
    if version < SCHEMA_VERSION:
        alter.set_properties({VERSION_PROPERTY: str(SCHEMA_VERSION)})
    return version < SCHEMA_VERSION


def schema_version(found: Found) -> int:
    """Read the table's schema version; 0 for a table that was not made by `ensure`."""
    return int(found.properties.get(VERSION_PROPERTY, "0"))


def require_protocol(found: Found, where: str) -> None:
    """Refuse a table whose protocol a writer of ours would misread. Raises TerminalTableError."""
    foreign = sorted(set(found.features) - ALLOWED_FEATURES)
    legacy = found.min_writer < _WRITER_VERSION_OF_FEATURES and (
        found.min_writer > _MOST_LEGACY_WRITER or found.min_reader > _MOST_LEGACY_READER
    )
    if legacy:
        foreign.append(f"protocol ({found.min_reader}, {found.min_writer})")
    if foreign:
        raise TerminalTableError(
            f"{where} uses {', '.join(foreign)}, which not every writer of JUDE understands. Drop it with "
            "ALTER TABLE ... DROP FEATURE (deletion vectors: REORG TABLE ... APPLY (PURGE) first), "
            "or copy the rows into a table that `ensure` makes."
        )


def specs_with(buckets: int) -> list[TableSpec]:
    """Give every table's spec; embedding_current's says into how many buckets its keys are dealt."""
    dealt = replace(EMBEDDING_CURRENT, properties={**EMBEDDING_CURRENT.properties, BUCKETS_PROPERTY: str(buckets)})
    return [dealt if spec is EMBEDDING_CURRENT else spec for spec in TABLES.values()]


def require_buckets(spec: TableSpec, found: Found, where: str) -> None:
    """Refuse another number of buckets: known keys would be looked for in the wrong one. Raises TerminalTableError."""
    wanted, held = spec.properties.get(BUCKETS_PROPERTY), found.properties.get(BUCKETS_PROPERTY)
    if wanted is not None and held is not None and wanted != held:
        raise TerminalTableError(
            f"{where} was made with {held} buckets, the settings say {wanted}: every known key would be missed. "
            f"Set tables.buckets back to {held}."
        )


def require_columns(spec: TableSpec, found: Found, where: str) -> None:
    """Refuse a table whose columns or partitions are not the spec's. Raises TerminalTableError."""
    have = {f["name"]: f for f in found.schema["fields"]}
    for want in json.loads(delta_schema_json(spec))["fields"]:
        got = have.get(want["name"])
        if got is None:
            raise TerminalTableError(
                f"{where} has no column {want['name']}: it was not made by this JUDE or was altered by hand. "
                "Add the column back, or move the table away and let `ensure` make a new one."
            )
        if _shape(got["type"]) != _shape(want["type"]):
            raise TerminalTableError(
                f"{where}.{want['name']} is {_shape(got['type'])}, JUDE writes {_shape(want['type'])}: "
                "copy the rows with a cast into a table that `ensure` makes."
            )
    if found.partition_by != spec.partition_by:
        raise TerminalTableError(
            f"{where} is partitioned by {list(found.partition_by)}, JUDE needs {list(spec.partition_by)}: "
            "copy the rows into a table that `ensure` makes."
        )


def _shape(kind: Any) -> str:  # noqa: ANN401  parsed JSON
    """Write a type without the nullability of its parts, which differs by writer and binds nobody."""
    if not isinstance(kind, dict):
        return str(kind)
    if kind["type"] == "array":
        return f"array<{_shape(kind['elementType'])}>"
    if kind["type"] == "map":
        return f"map<{_shape(kind['keyType'])},{_shape(kind['valueType'])}>"
    return "struct<" + ",".join(f"{f['name']}:{_shape(f['type'])}" for f in kind["fields"]) + ">"
