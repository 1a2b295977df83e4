"""The tables open elsewhere: deltalake, Polars, DuckDB, and each writer reads what the other wrote."""

from __future__ import annotations

from pathlib import Path

import duckdb
import polars as pl
import pytest
from deltalake import DeltaTable

from jude.tables.native import NativeTables
from jude.tables.protocol import Tables, TextKey
from tests.tables.conftest import BUCKETS
from tests.tables.rows import batch, job, known, pointer, pointers, text, texts, vector, vectors


def fill(tables: Tables) -> None:
    tables.merge_current(pointers(*(pointer(f"j{i}", "p1") for i in range(30))), batch(0))
    tables.merge_current(pointers(*(pointer(f"j{i}", "p2") for i in range(10))), batch(1))
    tables.append("text_history", texts(*(text(f"j{i}", "p1") for i in range(30))), batch(0))
    tables.append("embedding_store", vectors(vector("a"), vector("b")), batch(0))


# DuckDB's own delta extension is a download; over the same Arrow data set it reads the same files.
def by_duckdb(root: Path, table: str, sql: str) -> list[tuple]:
    rows = DeltaTable(root / table).to_pyarrow_dataset()
    with duckdb.connect() as connection:
        connection.register("rows", rows)
        return connection.execute(sql).fetchall()


def require_same_answers(root: Path) -> None:
    positions = [("p1", 20), ("p2", 10)]
    assert (
        by_duckdb(root, "embedding_current", "SELECT position, count(*) FROM rows GROUP BY 1 ORDER BY 1") == positions
    )
    counted = pl.read_delta(str(root / "embedding_current")).group_by("position").len().sort("position")
    assert counted.rows() == positions
    texts_by_id = "SELECT text FROM rows WHERE entity_id = 'j7'"
    assert by_duckdb(root, "text_history", texts_by_id) == [("j7 at p1",)]
    assert pl.scan_delta(str(root / "embedding_store")).select("input_hash").collect().height == 2


def test_polars_and_duckdb_read_what_the_native_writer_wrote(root: Path):
    fill(NativeTables(root, buckets=BUCKETS))
    require_same_answers(root)


@pytest.mark.parametrize("link_commits", [True, False])
def test_partition_values_of_any_script_are_read_by_all(root: Path, link_commits: bool):
    kind = "Stelle ü/%2F b"
    tables = NativeTables(root, buckets=BUCKETS, link_commits=link_commits)
    tables.append("text_history", texts(text("j1", "p1", entity_type=kind)), batch(0))
    assert by_duckdb(root, "text_history", "SELECT entity_type FROM rows") == [(kind,)]
    assert NativeTables(root, buckets=BUCKETS).fields_of([TextKey(kind, "j1", "p1")]) != {}


@pytest.mark.parametrize("link_commits", [True, False])
def test_a_model_version_of_any_script_replaces_its_own_pointer(root: Path, link_commits: bool):
    for number, position in enumerate(("p1", "p2")):
        tables = NativeTables(root, buckets=BUCKETS, link_commits=link_commits)
        tables.merge_current(pointers(pointer("j1", position, model_version="our bge ü/%2F")), batch(number))
    assert by_duckdb(root, "embedding_current", "SELECT position FROM rows") == [("p2",)]


def test_a_checkpoint_and_a_long_log_change_no_answer(root: Path):
    tables = NativeTables(root, buckets=BUCKETS)
    for number in range(105):
        tables.append("text_history", texts(text("j1", f"{number:04d}")), batch(number))
    log = root / "text_history" / "_delta_log"
    assert (log / "_last_checkpoint").exists()
    late = NativeTables(root, buckets=BUCKETS)
    late.append("text_history", texts(text("j1", "0104")), batch(104))
    late.append("text_history", texts(text("j1", "0105")), batch(105))
    assert DeltaTable(root / "text_history").to_pyarrow_table().num_rows == 106
    assert len(tables.fields_of([TextKey("job", "j1", f"{n:04d}") for n in (0, 50, 105)])) == 3


def test_a_process_that_slept_longer_than_the_log_was_kept_opens_the_table_anew(root: Path):
    sleeper, busy = NativeTables(root, buckets=BUCKETS), NativeTables(root, buckets=BUCKETS)
    sleeper.append("text_history", texts(text("j1", "p1")), batch(0, "sleeper"))
    for number in range(4):
        busy.append("text_history", texts(text("j2", f"p{number}")), batch(number))
    table = DeltaTable(root / "text_history")
    table.create_checkpoint()
    for commit in (root / "text_history" / "_delta_log").glob("*.json"):
        if int(commit.stem) < table.version():
            commit.unlink()
    assert len(sleeper.fields_of([TextKey("job", "j2", "p3")])) == 1
    sleeper.append("text_history", texts(text("j1", "p2")), batch(1, "sleeper"))
    assert DeltaTable(root / "text_history").to_pyarrow_table().num_rows == 6


@pytest.mark.spark
def test_each_writer_goes_on_where_the_other_stopped(root: Path, spark):
    from jude.tables.spark_tables import SparkTables

    by_spark = SparkTables(spark, BUCKETS, root=str(root))
    fill(by_spark)
    require_same_answers(root)
    native = NativeTables(root, buckets=BUCKETS)
    fill(native)  # the same batches again: nothing changes
    require_same_answers(root)
    native.merge_current(pointers(pointer("j1", "p5")), batch(9))
    by_spark.merge_current(pointers(pointer("j1", "p4"), pointer("j2", "p6")), batch(9))
    read_by_spark = SparkTables(spark, BUCKETS, root=str(root), read_natively=False)
    for tables in (native, by_spark, read_by_spark):
        assert known(tables, "j1", "j2", "j29", columns=("position",)) == {"j1": "p5", "j2": "p6", "j29": "p1"}
        assert tables.fields_of([TextKey("job", "j3", "p1")]) == {TextKey("job", "j3", "p1"): {"title": "j3 at p1"}}
        assert tables.stored("m1", ["a", "none"]).to_pylist() == native.stored("m1", ["a"]).to_pylist()
        assert len(tables.live_keys("m1", "job")) == 30


@pytest.mark.spark
def test_in_a_catalog_spark_does_the_reading_too(spark):
    from jude.tables.spark_ensure import ensure_table
    from jude.tables.spark_tables import SparkTables
    from jude.tables.spec import EMBEDDING_CURRENT, TEXT_HISTORY

    spark.sql("CREATE SCHEMA IF NOT EXISTS jude_catalog_test")
    try:
        for spec in (EMBEDDING_CURRENT, TEXT_HISTORY):
            ensure_table(spark, spec, None, f"jude_catalog_test.{spec.name}")
        first = SparkTables(spark, BUCKETS, schema="jude_catalog_test")
        first.merge_current(pointers(pointer("j1", "p1"), pointer("j1", "p7", entity_type="member")), batch(0))
        first.append("text_history", texts(text("j1", "p1")), batch(0))
        second = SparkTables(spark, BUCKETS, schema="jude_catalog_test")
        second.append("text_history", texts(text("j1", "p1"), text("j1", "p2")), batch(0))
        assert known(second, "j1", columns=("position",)) == {"j1": "p1"}
        assert second.live_keys("m1", "job") == [job("j1")]
        assert spark.table("jude_catalog_test.text_history").count() == 2
    finally:
        spark.sql("DROP SCHEMA jude_catalog_test CASCADE")
