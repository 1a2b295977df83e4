"""Create, migrate and check the tables with Spark: the same columns, properties and rules as the native writer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from jude.tables.fitting import (
    Found,
    delta_schema_json,
    migrate,
    require_buckets,
    require_columns,
    require_protocol,
    table_properties,
)
from jude.tables.spec import Column, TableSpec

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def ensure_table(spark: SparkSession, spec: TableSpec, path: str | None, name: str) -> None:
    """Create the table, or migrate and check the one that is there. Raises TerminalTableError."""
    from delta.tables import DeltaTable
    from pyspark.sql.types import StructType

    builder = DeltaTable.createIfNotExists(spark)
    builder = builder.location(path) if path is not None else builder.tableName(name)
    builder = builder.addColumns(StructType.fromJson(json.loads(delta_schema_json(spec)))).comment(spec.comment)
    for key, value in table_properties(spec).items():
        builder = builder.property(key, value)
    if spec.partition_by:
        builder = builder.partitionedBy(*spec.partition_by)
    if not _exists(spark, path, name):
        builder.execute()
    found = found_in(spark, name)
    require_protocol(found, name)
    if migrate(spec, found, _SparkAlter(spark, name), name):
        found = found_in(spark, name)
    require_columns(spec, found, name)
    require_buckets(spec, found, name)
    for constraint, check in spec.checks.items():
        if f"delta.constraints.{constraint}" not in found.properties:
            spark.sql(f"ALTER TABLE {name} ADD CONSTRAINT {constraint} CHECK ({check})")


def found_in(spark: SparkSession, name: str) -> Found:
    """Read what the table says of itself."""
    detail = spark.sql(f"DESCRIBE DETAIL {name}").head()
    assert detail is not None
    return Found(
        min_reader=detail["minReaderVersion"],
        min_writer=detail["minWriterVersion"],
        features=[] if detail["minWriterVersion"] < 7 else detail["tableFeatures"],
        schema=json.loads(spark.table(name).schema.json()),
        partition_by=tuple(detail["partitionColumns"]),
        properties=detail["properties"],
    )


def _exists(spark: SparkSession, path: str | None, name: str) -> bool:
    from delta.tables import DeltaTable

    return DeltaTable.isDeltaTable(spark, path) if path is not None else spark.catalog.tableExists(name)


class _SparkAlter:
    """What a migration may do, by SQL."""

    def __init__(self, spark: SparkSession, name: str) -> None:
        self._spark, self._name = spark, name

    def add_column(self, column: Column) -> None:
        from pyspark.sql.pandas.types import from_arrow_type

        kind = from_arrow_type(column.type).simpleString()
        comment = column.comment.replace("'", "\\'")
        self._spark.sql(f"ALTER TABLE {self._name} ADD COLUMNS (`{column.name}` {kind} COMMENT '{comment}')")

    def set_properties(self, properties: Mapping[str, str]) -> None:
        pairs = ", ".join(f"'{key}' = '{value}'" for key, value in properties.items())
        self._spark.sql(f"ALTER TABLE {self._name} SET TBLPROPERTIES ({pairs})")

    def drop_check(self, name: str) -> None:
        self._spark.sql(f"ALTER TABLE {self._name} DROP CONSTRAINT IF EXISTS {name}")
