"""The guarded MERGE of embedding_current by Spark (spec.MERGE_GUARD)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from jude.tables.seen_rows import NO_ROW, SeenRows
from jude.tables.spec import EMBEDDING_CURRENT

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MOVED: Final = "JUDE_ROW_CHANGED_SINCE_IT_WAS_READ"
_SOURCE: Final = "jude_merge_source"
_RAISE: Final = f"CAST(raise_error('{MOVED}') AS STRING)"
_COLUMNS: Final = tuple(c.name for c in EMBEDDING_CURRENT.columns)

_SAME_TEXT: Final = "s.text_position <=> t.text_position"
_COMPARABLE: Final = "s.topic = t.topic AND s.`partition` = t.`partition`"
_NEWER_VALUES: Final = {
    "available_at": f"coalesce(s.available_at, CASE WHEN {_SAME_TEXT} THEN t.available_at END)",
    "offset": f"CASE WHEN {_COMPARABLE} THEN greatest(s.`offset`, t.`offset`) ELSE s.`offset` END",
    "quarantined_position": (
        "CASE WHEN t.quarantined_position > s.position THEN greatest(s.quarantined_position, t.quarantined_position) "
        "ELSE s.quarantined_position END"
    ),
}
_MARKER: Final = (
    "s.position = t.position AND (s.`offset` > t.`offset` "
    "OR coalesce(s.quarantined_position, '') > coalesce(t.quarantined_position, ''))"
)
_UNMOVED: Final = (
    "t.position <=> s.seen_position AND t.`offset` <=> s.seen_offset AND t.quarantined_position <=> s.seen_quarantined"
)


def with_seen(source: pa.Table, seen: SeenRows) -> pa.Table:
    """Add what this thread read of each row: the MERGE itself then refuses an old plan.

    Columns out: the same + planned (known state was read), seen_position, seen_offset, seen_quarantined
    """
    rows = seen.rows(source)
    position, offset, quarantined = zip(*(row or NO_ROW for row in rows), strict=True)
    return (
        source.append_column("planned", pa.array([row is not None for row in rows], pa.bool_()))
        .append_column("seen_position", pa.array(position, pa.string()))
        .append_column("seen_offset", pa.array(offset, pa.int64()))
        .append_column("seen_quarantined", pa.array(quarantined, pa.string()))
    )


def run_merge(spark: SparkSession, table: str, source: pa.Table, max_literals: int) -> None:
    """Run the MERGE; the source is a local relation, read twice without harm."""
    spark.createDataFrame(source).createOrReplaceTempView(_SOURCE)
    try:
        spark.sql(merge_sql(table, source, max_literals))
    finally:
        spark.catalog.dropTempView(_SOURCE)


def merge_sql(table: str, source: pa.Table, max_literals: int) -> str:
    """Write the MERGE, with literal predicates on the target: Delta prunes files only by those."""
    newer = ", ".join(f"t.`{c}` = {_NEWER_VALUES.get(c, f's.`{c}`')}" for c in _COLUMNS)
    insert = ", ".join(f"`{c}`" for c in _COLUMNS)
    gone = f"CASE WHEN s.planned AND s.seen_position IS NOT NULL THEN {_RAISE} ELSE s.position END"
    values = ", ".join(gone if c == "position" else f"s.`{c}`" for c in _COLUMNS)
    return f"""
        MERGE INTO {table} AS t USING {_SOURCE} AS s
        ON {" AND ".join(_literals(source, max_literals))}
          AND t.entity_type = s.entity_type AND t.entity_id = s.entity_id
          AND t.model_version = s.model_version AND t.bucket = s.bucket
        WHEN MATCHED AND s.planned AND NOT ({_UNMOVED}) THEN UPDATE SET t.position = {_RAISE}
        WHEN MATCHED AND s.position > t.position THEN UPDATE SET {newer}
        WHEN MATCHED AND {_MARKER} THEN UPDATE SET
          t.`offset` = greatest(s.`offset`, t.`offset`),
          t.quarantined_position = greatest(s.quarantined_position, t.quarantined_position)
        WHEN NOT MATCHED THEN INSERT ({insert}) VALUES ({values})"""


def _literals(source: pa.Table, max_literals: int) -> Sequence[str]:
    predicates = []
    for name in ("entity_type", "model_version", "bucket", "entity_id"):
        values = pc.unique(source[name]).to_pylist()
        if len(values) <= max_literals:
            predicates.append(f"t.{name} IN ({', '.join(literal(v) for v in values)})")
    return predicates


def literal(value: str | int) -> str:
    """Write a value into SQL. Spark replaces `${...}` even inside a string, so no `$` may stand there as it is."""
    if isinstance(value, int):
        return str(value)
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("$", "\\u0024")
    return f"'{escaped}'"
