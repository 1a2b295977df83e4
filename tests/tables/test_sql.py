"""What a person or a dashboard sees, in plain Spark SQL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from jude.errors import TerminalTableError
from jude.tables.decoding import decoded
from jude.tables.sql import install_sql, sql_statements
from tests.tables.shelf import bfloat16, empty, float32, minutes, write

if TYPE_CHECKING:
    from pyspark.sql import Row, SparkSession


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """j1 was a nurse and became a cook (as chef); j2 was deleted; m2 took over from m1 after an hour."""
    root = empty(tmp_path_factory.mktemp("it's a root"))
    write(
        root,
        "embedding_store",
        {"input_hash": "nurse"} | float32(1, 0),
        {"input_hash": "cook"} | float32(0, 2),
        {"input_hash": "chef"} | float32(3, 4),
        {"input_hash": "unused"} | float32(9, 9),
    )
    write(root, "embedding_store", {"input_hash": "chef"} | float32(3, 4))  # a rare double
    write(root, "embedding_store", {"input_hash": "two", "model_version": "m2"} | bfloat16(0.5, -0.25, 8))
    write(
        root,
        "embedding_current",
        {"entity_id": "j1", "position": "3", "input_hash": "chef", "text_position": "3"},
        {"entity_id": "j2", "position": "4", "status": "deleted"},
        {"entity_id": "j3", "position": "1", "input_hash": "cook"},
        {"entity_id": "p1", "position": "1", "input_hash": "nurse", "entity_type": "member"},
        {"entity_id": "j1", "position": "3", "input_hash": "two", "model_version": "m2"},
    )
    past: list[dict[str, Any]] = [
        {"entity_id": "j1", "position": "1", "input_hash": "nurse", "available_at": minutes(1)},
        {"entity_id": "j2", "position": "2", "input_hash": "cook", "available_at": minutes(2)},
        {"entity_id": "j1", "position": "3", "input_hash": "chef", "available_at": minutes(3)},
        {"entity_id": "j2", "position": "4", "status": "deleted", "available_at": minutes(4)},
        {"entity_id": "j3", "position": "1", "input_hash": "cook"},  # never served
        {
            "entity_id": "p1",
            "position": "1",
            "input_hash": "nurse",
            "entity_type": "member",
            "available_at": minutes(1),
        },
    ]
    write(root, "embedding_history", *past)
    write(root, "embedding_history", past[2])  # a batch written twice
    late = {"entity_id": "j1", "position": "3", "input_hash": "two", "model_version": "m2", "available_at": minutes(50)}
    write(root, "embedding_history", late)
    write(root, "quarantine", *(quarantined(i, "a", "open", 1) for i in (1, 2, 3)))
    write(root, "quarantine", quarantined(2, "b", "replayed", 2), quarantined(3, "b", "open", 2))
    write(root, "quarantine", quarantined(1, "c", "dismissed", 3) | {"source_epoch": 1})  # of a topic made anew
    return root


def quarantined(offset: int, attempt: str, status: str, minute: int) -> dict[str, Any]:
    return {"quarantine_id": f"t:0:{offset}", "attempt": attempt, "status": status, "quarantined_at": minutes(minute)}


@pytest.fixture(scope="module")
def sql(spark: SparkSession, root: Path) -> Any:
    install_sql(spark, root)
    return lambda query: [tuple(row) for row in spark.sql(query).collect()]


@pytest.mark.spark
def test_embeddings_are_live_decoded_and_one_per_key(sql: Any) -> None:
    rows = sql(
        "SELECT entity_type, entity_id, position, dim, vector FROM embeddings WHERE model_version = 'm1' ORDER BY 2"
    )
    assert rows == [
        ("job", "j1", "3", 2, [3.0, 4.0]),
        ("job", "j3", "1", 2, [0.0, 2.0]),
        ("member", "p1", "1", 2, [1.0, 0.0]),
    ]


@pytest.mark.spark
def test_bfloat16_is_decoded_to_float(sql: Any) -> None:
    assert sql("SELECT entity_id, vector FROM embeddings WHERE model_version = 'm2'") == [("j1", [0.5, -0.25, 8.0])]


@pytest.mark.spark
def test_cosine_and_dot_take_vectors_of_the_view(sql: Any) -> None:
    rows = sql(
        """SELECT b.entity_id, round(cosine(a.vector, b.vector), 4), dot(a.vector, b.vector)
        FROM embeddings a JOIN embeddings b USING (entity_type, model_version)
        WHERE a.entity_id = 'j1' AND model_version = 'm1' ORDER BY 2 DESC"""
    )
    assert rows == [("j1", 1.0, 25.0), ("j3", pytest.approx(0.8), 8.0)]
    nearest = """SELECT entity_id, cosine(vector, (SELECT vector FROM embeddings WHERE entity_id = 'p1')) AS score
        FROM embeddings WHERE entity_type = 'job' AND model_version = 'm1' ORDER BY score DESC LIMIT 1"""
    assert sql(nearest) == [("j1", pytest.approx(0.6))]


@pytest.mark.spark
def test_history_holds_every_pointer_once(sql: Any) -> None:
    rows = sql(
        """SELECT entity_id, position, status, available_at IS NULL, vector FROM embeddings_history
        WHERE entity_type = 'job' AND model_version = 'm1' ORDER BY 1, 2"""
    )
    assert rows == [
        ("j1", "1", "live", False, [1.0, 0.0]),
        ("j1", "3", "live", False, [3.0, 4.0]),
        ("j2", "2", "live", False, [0.0, 2.0]),
        ("j2", "4", "deleted", False, None),
        ("j3", "1", "live", True, [0.0, 2.0]),
    ]


@pytest.mark.spark
def test_as_of_shows_what_was_served(sql: Any) -> None:
    """j1 is served from minute 1, changed at 3; j2 is served from 2 and deleted at 4; j3 was never served."""
    moments = (0, 1, 2.5, 3, 10)
    as_of = "SELECT {} AS minute, entity_id, vector FROM embeddings_as_of('job', TIMESTAMP '{}')"
    query = " UNION ALL ".join(as_of.format(minute, minutes(minute).isoformat()) for minute in moments)
    rows = [(float(minute), entity_id, vector) for minute, entity_id, vector in sql(f"{query} ORDER BY 1, 2")]
    assert rows == [
        (1.0, "j1", [1.0, 0.0]),
        (2.5, "j1", [1.0, 0.0]),
        (2.5, "j2", [0.0, 2.0]),
        (3.0, "j1", [3.0, 4.0]),
        (3.0, "j2", [0.0, 2.0]),
        (10.0, "j1", [3.0, 4.0]),
    ]


@pytest.mark.spark
def test_quarantine_open_hides_what_was_replayed(sql: Any) -> None:
    rows = sql("SELECT quarantine_id, attempt, attempts FROM quarantine_open ORDER BY 1")
    assert rows == [("t:0:1", "a", 1), ("t:0:3", "b", 2)]


@pytest.mark.spark
def test_the_tables_are_there_by_name_and_new_rows_are_seen(sql: Any, root: Path) -> None:
    assert sql("SELECT count(*) FROM labels_relevance") == [(0,)]
    label = {"query_type": "member", "query_id": "p1", "document_type": "job", "document_id": "j1", "label": 1.0}
    write(root, "labels_relevance", label | {"label_ts": minutes(9)})
    assert sql("SELECT document_id, label FROM labels_relevance") == [("j1", 1.0)]


@pytest.mark.spark
def test_the_alias_current_chooses_the_version(spark: SparkSession, tmp_path: Path) -> None:
    root, session = empty(tmp_path), spark.newSession()
    for version in ("m1", "m2"):
        write(root, "embedding_store", {"input_hash": "h", "model_version": version} | float32(1))
        pointer = {"entity_id": "j1", "position": "1", "input_hash": "h", "model_version": version}
        write(root, "embedding_current", pointer)
        write(root, "embedding_history", pointer | {"available_at": minutes(1)})
    write(root, "model_versions", {"model_version": "m1", "alias": "current"})
    write(root, "model_versions", {"model_version": "m2", "alias": "current", "valid_from": minutes(60)})
    install_sql(session, root)
    rows = session.sql(
        f"""SELECT 'now', model_version FROM embeddings
        UNION ALL SELECT 'before', model_version FROM embeddings_as_of('job', TIMESTAMP '{minutes(30).isoformat()}')
        UNION ALL SELECT 'after', model_version FROM embeddings_as_of('job', TIMESTAMP '{minutes(90).isoformat()}')"""
    ).collect()
    assert [tuple(row) for row in rows] == [("now", "m2"), ("before", "m1"), ("after", "m2")]


@pytest.mark.spark
def test_a_schema_keeps_the_views(spark: SparkSession, root: Path) -> None:
    install_sql(spark, root, schema="jude_kept")
    install_sql(spark, None, schema="jude_kept")  # as every later start of a job does
    try:
        other = spark.newSession()  # knows nothing of temporary views
        rows = other.sql("SELECT entity_id FROM jude_kept.embeddings WHERE model_version = 'm1' ORDER BY 1").collect()
        assert [row.entity_id for row in rows] == ["j1", "j3", "p1"]
        (row,) = other.sql(
            f"""SELECT entity_id, jude_kept.cosine(vector, array(6F, 8F)) AS c
            FROM jude_kept.embeddings_as_of('job', TIMESTAMP '{minutes(10).isoformat()}')"""
        ).collect()
        assert (row.entity_id, row.c) == ("j1", pytest.approx(1.0))
    finally:
        spark.sql("DROP SCHEMA jude_kept CASCADE")


@pytest.mark.spark
def test_missing_tables_are_a_sentence(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(TerminalTableError, match="`ensure` creates them"):
        install_sql(spark, tmp_path / "nowhere")


def test_a_schema_name_is_one_or_two_words() -> None:
    assert "main.jude.embeddings" in "\n".join(sql_statements("/tables", "main.jude"))
    with pytest.raises(ValueError, match="no schema name"):
        sql_statements("/tables", "a; DROP TABLE b")


def test_a_schema_of_its_own_needs_no_folder() -> None:
    statements = sql_statements(None, "main.jude")
    assert not any("LOCATION" in statement for statement in statements)
    with pytest.raises(ValueError, match="root or their schema"):
        sql_statements(None)


def decoded_bits(spark: SparkSession, bits: np.ndarray, dtype: str) -> np.ndarray:
    """Decode one vector per 16 numbers."""
    wide = bits.reshape(-1, 16)
    frame = spark.createDataFrame([(bytearray(row.tobytes()), dtype, 16) for row in wide], "v BINARY, t STRING, d INT")
    rows: list[Row] = frame.selectExpr(f"{decoded('v', 't', 'd')} AS x").collect()
    return np.array([row.x for row in rows], dtype=np.float32).reshape(-1)


EDGES = [
    0,
    1,
    0x007FFFFF,
    0x00800000,
    0x3F800000,
    0x7F7FFFFF,
    0x7F800000,
    0x7F800001,
    0x7FC00000,
    0x00000100,
    0x00010000,
]


@pytest.mark.spark
def test_every_kind_of_float32_is_decoded_exactly(spark: SparkSession) -> None:
    """Random bit patterns, all exponents with both signs, and the edges: zeros, subnormals, infinities, NaN."""
    random = np.random.default_rng(3).integers(0, 2**32, 16_000, dtype=np.uint64)
    exponents = np.arange(512, dtype=np.uint64) << np.uint64(23)
    edges = np.array([e | sign for e in EDGES for sign in (0, 0x80000000)] + [0] * 10, dtype=np.uint64)
    bits = np.concatenate([random, exponents, exponents + np.uint64(0x2AAAAA), edges]).astype("<u4")
    expected = bits.view("<f4")
    found = decoded_bits(spark, bits, "float32")
    numbers = ~np.isnan(expected)
    assert np.array_equal(np.isnan(found), np.isnan(expected))
    assert np.array_equal(found[numbers].view("<u4"), bits[numbers])  # bits, so that -0.0 is not 0.0


@pytest.mark.spark
def test_every_bfloat16_is_decoded_exactly(spark: SparkSession) -> None:
    bits = np.arange(65_536, dtype="<u2")
    expected = bits.astype("<u4") << np.uint32(16)
    found = decoded_bits(spark, bits, "bfloat16")
    numbers = ~np.isnan(expected.view("<f4"))
    assert np.array_equal(np.isnan(found), ~numbers)
    assert np.array_equal(found[numbers].view("<u4"), expected[numbers])
