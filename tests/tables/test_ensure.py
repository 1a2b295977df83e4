"""`ensure` makes what is missing, migrates what is old and refuses what it would misread."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, TableFeatures, write_deltalake
from deltalake.exceptions import DeltaError

from jude.errors import TerminalTableError
from jude.tables import fitting
from jude.tables.native import NativeTables
from jude.tables.spec import EMBEDDING_CURRENT, SCHEMA_VERSION, TABLES, TEXT_HISTORY, Column
from tests.tables.conftest import BUCKETS
from tests.tables.rows import batch, pointer, text, texts


def open_native(root: Path) -> NativeTables:
    return NativeTables(root, buckets=BUCKETS)


def handle(root: Path, table: str = "text_history") -> DeltaTable:
    return DeltaTable(root / table)


@pytest.mark.parametrize("name", TABLES)
def test_a_made_table_says_what_the_spec_says(root: Path, name: str):
    spec, table = TABLES[name], handle(root, name)
    fields = {f["name"]: f for f in json.loads(table.schema().to_json())["fields"]}
    assert list(fields) == [c.name for c in spec.columns]
    assert {n for n, f in fields.items() if not f["nullable"]} == {c.name for c in spec.columns if not c.nullable}
    assert all(fields[c.name]["metadata"].get("comment", "") == c.comment for c in spec.columns)
    assert tuple(table.metadata().partition_columns) == spec.partition_by
    assert table.metadata().description == spec.comment
    properties = table.metadata().configuration
    assert properties["jude.schema_version"] == str(SCHEMA_VERSION)
    assert properties["delta.checkpointInterval"] == "100"
    assert {k.removeprefix("delta.constraints.") for k in properties if "constraints" in k} == set(spec.checks)
    protocol = table.protocol()
    assert (protocol.min_reader_version, protocol.reader_features) == (1, None)
    assert protocol.min_writer_version == (3 if spec.checks else 2), "no features: every reader opens it"


def test_ensure_again_changes_nothing(root: Path):
    before = {name: handle(root, name).version() for name in TABLES}
    open_native(root).ensure()
    assert {name: handle(root, name).version() for name in TABLES} == before


def test_foreign_writers_are_held_to_the_checks(root: Path):
    row = pointer("j1", "p1", status="zombie", bucket=0)
    with pytest.raises(DeltaError, match="status"):
        write_deltalake(
            handle(root, "embedding_current"), pa.Table.from_pylist([row], EMBEDDING_CURRENT.schema), mode="append"
        )


def test_an_older_table_is_migrated_step_by_step_once(root: Path, monkeypatch: pytest.MonkeyPatch):
    open_native(root).append("text_history", texts(text("j1", "p1")), batch(0))
    ran = []

    def add_mood(spec, alter):
        ran.append(spec.name)
        alter.add_column(Column("mood", pa.string(), "how the text sounds"))

    monkeypatch.setattr(fitting, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    monkeypatch.setattr("jude.tables.native_ensure.SCHEMA_VERSION", SCHEMA_VERSION + 1)
    monkeypatch.setitem(fitting.MIGRATIONS, ("text_history", SCHEMA_VERSION), add_mood)
    open_native(root).ensure()
    open_native(root).ensure()
    assert ran == ["text_history"]
    assert {handle(root, n).metadata().configuration["jude.schema_version"] for n in TABLES} == {
        str(SCHEMA_VERSION + 1)
    }
    assert handle(root).to_pyarrow_table()["mood"].to_pylist() == [None]


def test_a_table_of_the_first_version_gets_the_retention_of_now(root: Path):
    old = {"jude.schema_version": "1", "delta.deletedFileRetentionDuration": "interval 7 days"}
    handle(root, "embedding_current").alter.set_table_properties(old, raise_if_not_exists=False)
    open_native(root).ensure()
    assert handle(root, "embedding_current").metadata().configuration["delta.deletedFileRetentionDuration"] == (
        "interval 1 hours"
    )


def test_a_quarantine_of_the_second_version_may_hold_dismissed_records_from_now_on(root: Path):
    table = handle(root, "quarantine")
    table.alter.drop_constraint("status_known")
    table.alter.add_constraint({"status_known": "status IN ('open', 'replayed')"})
    table.alter.set_table_properties({"jude.schema_version": "2"}, raise_if_not_exists=False)
    open_native(root).ensure()
    assert "'dismissed'" in handle(root, "quarantine").metadata().configuration["delta.constraints.status_known"]


def test_a_newer_table_is_refused_by_ensure_and_by_a_writer(root: Path):
    handle(root).alter.set_table_properties({"jude.schema_version": "99"}, raise_if_not_exists=False)
    with pytest.raises(TerminalTableError, match=r"schema version 99.*upgrade JUDE"):
        open_native(root).ensure()
    with pytest.raises(TerminalTableError, match="upgrade JUDE"):
        open_native(root).append("text_history", texts(text("j1", "p1")), batch(0))


def test_a_running_writer_notices_that_its_table_was_migrated(root: Path):
    running = open_native(root)
    running.append("text_history", texts(text("j1", "p1")), batch(0))
    handle(root).alter.set_table_properties({"jude.schema_version": "99"}, raise_if_not_exists=False)
    with pytest.raises(TerminalTableError, match="upgrade JUDE"):
        running.append("text_history", texts(text("j1", "p2")), batch(1))


def remake(root: Path, schema: pa.Schema, partition_by: tuple[str, ...] = ("entity_type",)) -> None:
    DeltaTable.create(root / "text_history", schema=schema, partition_by=list(partition_by), mode="overwrite")


def test_a_missing_column_a_wrong_type_and_wrong_partitions_are_refused(root: Path):
    good = TEXT_HISTORY.schema
    remake(root, good.remove(good.get_field_index("columns_hash")))
    with pytest.raises(TerminalTableError, match="has no column columns_hash"):
        open_native(root).ensure()
    remake(root, good.set(good.get_field_index("writer_batch"), pa.field("writer_batch", pa.int32(), nullable=False)))
    with pytest.raises(TerminalTableError, match="writer_batch is integer, JUDE writes long"):
        open_native(root).ensure()
    remake(root, good, partition_by=())
    with pytest.raises(TerminalTableError, match=r"partitioned by \[\], JUDE needs"):
        open_native(root).ensure()


def test_a_table_with_features_that_a_writer_would_misread_is_refused(root: Path):
    handle(root).alter.add_feature(TableFeatures.DeletionVectors, allow_protocol_versions_increase=True)
    with pytest.raises(TerminalTableError, match=r"deletionVectors.*DROP FEATURE"):
        open_native(root).ensure()
    with pytest.raises(TerminalTableError, match="deletionVectors"):
        open_native(root).append("text_history", texts(text("j1", "p1")), batch(0))


def test_writing_before_ensure_says_what_to_do(tmp_path: Path):
    with pytest.raises(TerminalTableError, match="run `ensure` once"):
        open_native(tmp_path).append("text_history", texts(text("j1", "p1")), batch(0))


def test_another_number_of_buckets_is_refused(tmp_path: Path):
    NativeTables(tmp_path, buckets=4).ensure()
    with pytest.raises(TerminalTableError, match=r"4 buckets, .* 8: .* Set tables\.buckets back to 4"):
        NativeTables(tmp_path, buckets=8).ensure()
    NativeTables(tmp_path, buckets=4).ensure()


@pytest.mark.spark
def test_spark_makes_the_same_table_and_checks_it_by_the_same_rules(spark, tmp_path: Path):
    from jude.tables.spark_ensure import ensure_table, found_in

    where = tmp_path / "embedding_current"
    name = f"delta.`{where}`"
    for _ in range(2):
        ensure_table(spark, EMBEDDING_CURRENT, str(where), name)
    native = tmp_path / "native"
    from jude.tables import native_ensure

    native_ensure.ensure_table(EMBEDDING_CURRENT, str(native), {})
    ours, theirs = found_in(spark, name), native_ensure.found_in(DeltaTable(native))
    made, expected = ([(f["name"], f["metadata"]) for f in found.schema["fields"]] for found in (ours, theirs))
    assert made == expected
    assert (ours.partition_by, ours.min_reader, ours.min_writer) == (theirs.partition_by, 1, 3)
    same = {k: v for k, v in theirs.properties.items() if "constraints" not in k}
    assert same.items() <= ours.properties.items()
    spark.sql(f"ALTER TABLE {name} SET TBLPROPERTIES ('jude.schema_version' = '99')")
    with pytest.raises(TerminalTableError, match="upgrade JUDE"):
        ensure_table(spark, EMBEDDING_CURRENT, str(where), name)
