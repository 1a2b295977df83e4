"""The tables for people and SQL: views with decoded vectors, a table function over time, cosine and dot.

Everything is plain Spark SQL text, so that spark-sql, a notebook and Databricks SQL can run it: no Python, no jar.

- tables under their own names (`ledger`, `text_history`, ...)
- `embeddings`: live entities of the current model version (of all versions while none holds the alias), one row a key
- `embeddings_history`: every pointer with its four clocks and its vector; null vector for a delete
- `quarantine_open`: records whose latest attempt left them in quarantine, with `attempts`
- `embeddings_as_of(entity_type, ts)`: what the version that was current at `ts` had put online by then (inclusive)
- `cosine(a, b)`, `dot(a, b)` over array<float>; ORDER BY takes no SQL function in Spark: order by its alias

Decoding stands inside the views: a SQL function with a lambda cannot take another function's result.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from jude.errors import TerminalTableError
from jude.tables.decoding import decoded
from jude.tables.spec import QUARANTINED_RECORD, TABLES

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_SCHEMA_NAME: Final = re.compile(r"\w+(\.\w+)?")
_CURRENT_VERSION: Final = "(SELECT max_by(model_version, valid_from) FROM {model_versions} WHERE alias = 'current')"

# Joined first and made single per key afterwards: a predicate on the key then reaches embedding_current before the
# join. Making the store single first would read the whole store for one entity.
_EMBEDDINGS: Final = """
SELECT entity_type, entity_id, model_version, position, text_position, text_hash, input_hash, source_ts, available_at,
    stored.dim AS dim, {decoded} AS vector
FROM (
    SELECT c.entity_type, c.entity_id, c.model_version, c.position, c.text_position, c.text_hash, c.input_hash,
        c.source_ts, c.available_at, min(struct(s.embedded_at, s.dtype, s.dim, s.vector)) AS stored
    FROM {embedding_current} c
    JOIN {embedding_store} s ON s.model_version = c.model_version AND s.input_hash = c.input_hash
    WHERE c.status = 'live' AND c.model_version = coalesce({current_version}, c.model_version)
    GROUP BY ALL
)"""
_EMBEDDINGS_HISTORY: Final = """
SELECT entity_type, entity_id, model_version, position, pointer.text_hash, pointer.input_hash, pointer.status,
    pointer.origin, pointer.source_ts, pointer.ingested_at, pointer.embedded_at, pointer.available_at,
    stored.dim AS dim, {decoded} AS vector
FROM (
    SELECT h.entity_type, h.entity_id, h.model_version, h.position,
        min(struct(h.ingested_at, h.text_hash, h.input_hash, h.status, h.origin, h.source_ts, h.embedded_at,
            h.available_at)) AS pointer,
        min(struct(s.embedded_at, s.dtype, s.dim, s.vector)) FILTER (WHERE s.vector IS NOT NULL) AS stored
    FROM {embedding_history} h
    LEFT JOIN {embedding_store} s ON s.model_version = h.model_version AND s.input_hash = h.input_hash
    GROUP BY ALL
)"""
_QUARANTINE_OPEN: Final = """
SELECT * EXCEPT (newness) FROM (
    SELECT *, count(*) OVER (PARTITION BY {record}) AS attempts,
        row_number() OVER (PARTITION BY {record} ORDER BY quarantined_at DESC, status DESC, attempt DESC) AS newness
    FROM {quarantine}
) WHERE newness = 1 AND status = 'open'"""
# A scalar subquery cannot see the parameters (two levels out), a joined one can.
_AS_OF: Final = """
SELECT newest.model_version, newest.entity_id, newest.position, newest.text_hash, newest.input_hash,
    newest.source_ts, newest.available_at, e.dim, e.vector
FROM (
    SELECT max_by(
        struct(h.model_version, h.entity_id, h.position, h.text_hash, h.input_hash, h.status, h.source_ts,
            h.available_at), h.position) AS newest
    FROM {embedding_history} h
    CROSS JOIN (
        SELECT max_by(model_version, valid_from) AS model_version FROM {model_versions}
        WHERE alias = 'current' AND valid_from <= embeddings_as_of.ts
    ) held
    WHERE h.entity_type = embeddings_as_of.entity_type AND h.available_at <= embeddings_as_of.ts
        AND h.model_version = coalesce(held.model_version, h.model_version)
    GROUP BY h.entity_id, h.model_version
)
JOIN {embeddings_history} e
    ON e.entity_type = embeddings_as_of.entity_type AND e.entity_id = newest.entity_id
    AND e.model_version = newest.model_version AND e.position = newest.position
WHERE newest.status = 'live'"""


def install_sql(spark: SparkSession, root: str | Path | None, schema: str | None = None) -> None:
    """Make tables, views and functions known to SQL. Idempotent.

    Without `schema` they are temporary, over the path tables, and end with the session. With `schema` ("jude" or
    "main.jude": Hive, Unity Catalog) they are persistent: tables not registered there yet are registered at `root`;
    without `root` the schema's own tables are taken.
    Raises TerminalTableError with the statement's first line when one fails: run `ensure` first.
    """
    for statement in sql_statements(root, schema):
        try:
            spark.sql(statement)
        except Exception as error:  # Spark's exceptions differ between classic and Connect
            first_line = statement.strip().split("\n", 1)[0][:120]
            reason = str(error).split("\n", 1)[0]  # the rest is a query plan
            raise TerminalTableError(
                f"SQL over the tables in {root or schema} could not be installed: `{first_line}` failed: {reason}. "
                "Are the tables there? `ensure` creates them."
            ) from error


def sql_statements(root: str | Path | None, schema: str | None = None) -> list[str]:
    """Give the statements of `install_sql`, in order: to run them where no Python is.

    Raises ValueError for a schema name that is not one or two plain words, and without both root and schema.
    """
    if root is None and schema is None:
        raise ValueError("either the tables' root or their schema must be given")
    if schema is not None and not _SCHEMA_NAME.fullmatch(schema):
        raise ValueError(f"{schema!r} is no schema name: give `schema` or `catalog.schema`")
    names = {name: name if schema is None else f"{schema}.{name}" for name in (*TABLES, *_VIEWS, *_FUNCTIONS)}
    view = "CREATE OR REPLACE TEMPORARY VIEW" if schema is None else "CREATE OR REPLACE VIEW"
    function = "CREATE OR REPLACE TEMPORARY FUNCTION" if schema is None else "CREATE OR REPLACE FUNCTION"
    statements = [] if schema is None else [f"CREATE SCHEMA IF NOT EXISTS {schema}"]
    for table in TABLES if root is not None else ():
        path = f"{str(root).rstrip('/')}/{table}"
        if schema is None:
            escaped = path.replace("`", "``")
            statements.append(f"{view} {table} AS SELECT * FROM delta.`{escaped}`")
        else:
            escaped = path.replace("\\", "\\\\").replace("'", "\\'")
            statements.append(f"CREATE TABLE IF NOT EXISTS {names[table]} USING DELTA LOCATION '{escaped}'")
    for name, body in _VIEWS.items():
        statements.append(f"{view} {names[name]} AS{_filled(body, names)}")
    for name, (signature, body) in _FUNCTIONS.items():
        statements.append(f"{function} {names[name]}{signature}\nRETURN{_filled(body, names)}")
    return statements


def _filled(body: str, names: dict[str, str]) -> str:
    return body.format(
        decoded=decoded("stored.vector", "stored.dtype", "stored.dim"),
        current_version=_CURRENT_VERSION.format(**names),
        record=", ".join(QUARANTINED_RECORD),
        **names,
    )


_VIEWS: Final = {
    "embeddings": _EMBEDDINGS,
    "embeddings_history": _EMBEDDINGS_HISTORY,
    "quarantine_open": _QUARANTINE_OPEN,
}
_FUNCTIONS: Final = {
    "embeddings_as_of": (
        """(entity_type STRING COMMENT 'job, member, resume, ...', ts TIMESTAMP COMMENT 'inclusive')
RETURNS TABLE (model_version STRING, entity_id STRING, position STRING, text_hash STRING, input_hash STRING,
    source_ts TIMESTAMP, available_at TIMESTAMP, dim INT, vector ARRAY<FLOAT>)""",
        _AS_OF,
    ),
    "cosine": ("(a ARRAY<FLOAT>, b ARRAY<FLOAT>) RETURNS FLOAT", " vector_cosine_similarity(a, b)"),
    "dot": ("(a ARRAY<FLOAT>, b ARRAY<FLOAT>) RETURNS FLOAT", " vector_inner_product(a, b)"),
}
