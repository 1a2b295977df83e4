"""What every writer of the tables promises; each story runs on the native writer, on delta-rs commits and on Spark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from jude.errors import CommitConflictError, TerminalTableError
from jude.planning.rows import KNOWN
from jude.tables.protocol import Tables, TextKey
from jude.tables.spec import LEDGER
from tests.tables.conftest import OpenTables
from tests.tables.rows import (
    at,
    batch,
    histories,
    history,
    job,
    known,
    pointer,
    pointers,
    quarantined,
    text,
    texts,
    vector,
    vectors,
)


def test_a_newer_change_replaces_an_older_one_and_never_the_other_way(tables: Tables):
    tables.merge_current(pointers(pointer("j1", "p2"), pointer("j2", "p2"), pointer("j3", "p2")), batch(0))
    tables.merge_current(pointers(pointer("j1", "p1"), pointer("j2", "p2"), pointer("j3", "p3")), batch(1))
    assert known(tables, "j1", "j2", "j3", columns=("position", "text_hash")) == {
        "j1": ("p2", "text of p2"),
        "j2": ("p2", "text of p2"),
        "j3": ("p3", "text of p3"),
    }


def test_known_state_has_the_planners_schema_and_only_the_keys_that_exist(tables: Tables):
    tables.merge_current(pointers(pointer("j1", "p1", quarantined_position="p9")), batch(0))
    rows = tables.known_state("m1", [job("j1"), job("nobody")])
    assert rows.schema.equals(KNOWN)
    assert rows.to_pylist() == [
        {
            "entity_type": "job",
            "entity_id": "j1",
            "status": "live",
            "position": "p1",
            "text_position": "p1",
            "columns_hash": "columns of p1",
            "text_hash": "text of p1",
            "input_hash": "input of p1",
            "topic": "jobs",
            "partition": 0,
            "offset": 1,
            "quarantined_position": "p9",
            "fields": None,
        }
    ]
    assert tables.known_state("m2", [job("j1")]).num_rows == 0
    assert tables.known_state("m1", []).num_rows == 0


def test_available_at_is_kept_as_long_as_the_text_is(tables: Tables, root: Path):
    rows = ("same", "other", "again")
    tables.merge_current(pointers(*(pointer(i, "p1", available_at=at(5)) for i in rows)), batch(0))
    moved = [
        pointer("same", "p2", text_position="p1", available_at=None, source_ts=at(9)),
        pointer("other", "p2", text_position="p2", available_at=None, source_ts=at(9)),
        pointer("again", "p2", text_position="p1", available_at=at(8), source_ts=at(9)),
    ]
    tables.merge_current(pointers(*moved), batch(1))
    clocks = {r["entity_id"]: (r["source_ts"], r["available_at"]) for r in rows_of(root, "embedding_current")}
    assert clocks == {"same": (at(9), at(5)), "other": (at(9), None), "again": (at(9), at(8))}


def rows_of(root: Path, table: str) -> list[dict]:
    return DeltaTable(root / table).to_pyarrow_table().to_pylist()


def test_offsets_only_move_forward_within_a_partition(tables: Tables):
    tables.merge_current(pointers(pointer("j1", "p1", offset=50), pointer("j2", "p1", offset=50)), batch(0))
    tables.merge_current(pointers(pointer("j1", "p2", offset=7), pointer("j2", "p2", offset=7, partition=3)), batch(1))
    assert known(tables, "j1", "j2") == {"j1": ("p2", 50), "j2": ("p2", 7)}


def test_a_stale_delete_claims_its_tombstones_offset_and_nothing_else(tables: Tables):
    tables.merge_current(pointers(pointer("j1", "p2", offset=10)), batch(0))
    claim = pointer("j1", "p2", offset=12, status="deleted", text_hash="invented", source_ts=at(99))
    tables.merge_current(pointers(claim), batch(1))
    columns = ("position", "offset", "status", "text_hash")
    assert known(tables, "j1", columns=columns) == {"j1": ("p2", 12, "live", "text of p2")}


def test_a_quarantined_change_is_marked_on_its_key_until_a_newer_one_is_applied(tables: Tables):
    marks = ("position", "quarantined_position")
    tables.merge_current(pointers(pointer("j1", "p1")), batch(0))
    tables.merge_current(pointers(pointer("j1", "p1", quarantined_position="p5")), batch(1))
    assert known(tables, "j1", columns=marks) == {"j1": ("p1", "p5")}
    tables.merge_current(pointers(pointer("j1", "p1", quarantined_position="p4")), batch(2))
    assert known(tables, "j1", columns=marks) == {"j1": ("p1", "p5")}
    tables.merge_current(pointers(pointer("j1", "p3")), batch(3))
    assert known(tables, "j1", columns=marks) == {"j1": ("p3", "p5")}, "p5 is newer than p3: still open"
    tables.merge_current(pointers(pointer("j1", "p6")), batch(4))
    assert known(tables, "j1", columns=marks) == {"j1": ("p6", None)}


def test_a_deleted_key_stays_as_a_row_and_a_late_upsert_does_not_bring_it_back(tables: Tables):
    tables.merge_current(pointers(pointer("j1", "p1"), pointer("j2", "p1")), batch(0))
    gone = pointer("j1", "p3", status="deleted", input_hash=None, text_position="p1", text_hash="text of p1")
    tables.merge_current(pointers(gone), batch(1))
    tables.merge_current(pointers(pointer("j1", "p2")), batch(2))
    columns = ("position", "status", "input_hash", "text_hash")
    assert known(tables, "j1", columns=columns) == {"j1": ("p3", "deleted", None, "text of p1")}
    assert tables.live_keys("m1", "job") == [job("j2")]
    assert tables.live_keys("m1", "member") == []


def test_a_merge_that_changes_nothing_makes_no_new_row(tables: Tables, root: Path):
    tables.merge_current(pointers(pointer("j1", "p1")), batch(0))
    tables.merge_current(pointers(pointer("j1", "p1")), batch(0))
    tables.merge_current(pointers(), batch(1))
    assert len(rows_of(root, "embedding_current")) == 1


def test_a_thousand_keys_of_several_types_and_versions_in_one_merge(tables: Tables):
    kinds = [("job", "m1"), ("member", "m1"), ("job", "m2"), ("resume", "m2")]
    rows = [
        pointer(f"k{i}", "p1", entity_type=kind, model_version=version) for i in range(250) for kind, version in kinds
    ]
    tables.merge_current(pointers(*rows), batch(0))
    tables.merge_current(pointers(*({**r, "position": "p2"} for r in rows if r["entity_type"] == "job")), batch(1))
    assert len(tables.live_keys("m1", "member")) == len(tables.live_keys("m2", "resume")) == 250
    state = tables.known_state("m2", [job(f"k{i}") for i in range(250)])
    assert set(state["position"].to_pylist()) == {"p2"}
    assert state.num_rows == 250


def test_odd_keys_and_values_come_back_as_they_were(tables: Tables, root: Path):
    odd = ["", "a'b\\c", "Zoë 🙂 مرحبا", "x" * 10_000, "%41/../=", "line\nbreak", "${spark.app.name}", "\\u0024"]
    tables.merge_current(pointers(*(pointer(i, "p1", topic=i) for i in odd)), batch(0))
    tables.merge_current(pointers(*(pointer(i, "p2", topic=i) for i in odd)), batch(1))
    assert known(tables, *odd, columns=("position", "topic")) == {i: ("p2", i) for i in odd}
    assert len(rows_of(root, "embedding_current")) == len(odd)


def test_one_key_twice_in_a_merge_is_refused(tables: Tables):
    with pytest.raises(TerminalTableError, match="two rows of one key"):
        tables.merge_current(pointers(pointer("j1", "p1"), pointer("j1", "p2")), batch(0))


def test_a_row_that_the_table_refuses_is_told_and_nothing_is_written(tables: Tables, root: Path):
    with pytest.raises(TerminalTableError, match="status must be one of"):
        tables.merge_current(pointers(pointer("j1", "p1", status="zombie")), batch(0))
    with pytest.raises(TerminalTableError, match="position must not be null"):
        tables.append("text_history", texts(text("j1", None)), batch(0))
    with pytest.raises(TerminalTableError, match="no column mood"):
        tables.append("text_history", texts(text("j1", "p1")).append_column("mood", [["good"]]), batch(0))
    assert rows_of(root, "text_history") == []


# -- appends ----------------------------------------------------------------------------------------------------


def test_a_replayed_append_adds_nothing(open_tables: OpenTables, root: Path):
    open_tables().append("text_history", texts(text("j1", "p1"), text("j2", "p1")), batch(0))
    again = open_tables()
    again.append("text_history", texts(text("j1", "p1"), text("j2", "p1")), batch(0))
    again.append("text_history", texts(text("j1", "p1"), text("j2", "p1")), batch(0))
    assert ids_and_positions(root) == [("j1", "p1"), ("j2", "p1")]


def test_a_replay_adds_just_the_rows_that_are_missing(open_tables: OpenTables, root: Path):
    open_tables().append("text_history", texts(text("j1", "p1")), batch(7))
    tables = open_tables()
    tables.append("text_history", texts(text("j1", "p1"), text("j1", "p2"), text("j2", "p1")), batch(7))
    assert ids_and_positions(root) == [("j1", "p1"), ("j1", "p2"), ("j2", "p1")]


def test_the_first_write_of_a_new_stream_anti_joins_for_a_lost_checkpoint_starts_at_batch_0(
    open_tables: OpenTables, root: Path
):
    first = open_tables()
    first.append("text_history", texts(text("j1", "p1")), batch(0))
    first.append("text_history", texts(text("j1", "p2")), batch(1))
    second = open_tables()
    second.append("text_history", texts(text("j1", "p1"), text("j1", "p2"), text("j1", "p3")), batch(0, "s2"))
    assert ids_and_positions(root) == [("j1", "p1"), ("j1", "p2"), ("j1", "p3")]


def test_later_batches_are_appended_without_a_look(tables: Tables, root: Path):
    tables.append("text_history", texts(text("j1", "p1")), batch(0))
    tables.append("text_history", texts(text("j1", "p1")), batch(1))
    assert ids_and_positions(root) == [("j1", "p1"), ("j1", "p1")], "blind: the plan decides what is new"


def test_no_rows_make_no_commit(tables: Tables, root: Path):
    tables.append("text_history", texts(), batch(0))
    tables.append("text_history", texts(text("j1", "p1")), batch(0))
    assert ids_and_positions(root) == [("j1", "p1")]


def ids_and_positions(root: Path) -> list[tuple[str, str]]:
    return sorted((r["entity_id"], r["position"]) for r in rows_of(root, "text_history"))


def test_every_history_table_anti_joins_on_its_own_key(open_tables: OpenTables, root: Path):
    tables = open_tables()
    tables.append(
        "embedding_history", histories(history("j1", "p1"), history("j1", "p1", model_version="m2")), batch(0)
    )
    again = open_tables()
    again.append("embedding_history", histories(history("j1", "p1", model_version="m3"), history("j1", "p1")), batch(0))
    found = sorted((r["entity_id"], r["model_version"]) for r in rows_of(root, "embedding_history"))
    assert found == [("j1", "m1"), ("j1", "m2"), ("j1", "m3")]


def test_a_ledger_row_with_maps_is_kept_once(open_tables: OpenTables, root: Path):
    import pyarrow as pa

    row: dict[str, Any] = {c.name: 1 for c in LEDGER.columns}
    row |= {"writer_query": "s1", "model_version": "m1", "entity_type": ""}
    row |= {"started_at": at(0), "seconds": [("plan", 0.5)], "freshness": [(10, 3)]}
    for tables in (open_tables(), open_tables()):
        tables.append("ledger", pa.Table.from_pylist([row], schema=LEDGER.schema), batch(1))
    [kept] = rows_of(root, "ledger")
    assert (dict(kept["seconds"]), dict(kept["freshness"]), kept["started_at"]) == ({"plan": 0.5}, {10: 3}, at(0))


# -- vectors and texts ------------------------------------------------------------------------------------------


def test_stored_gives_one_row_per_input_of_one_version(tables: Tables):
    tables.append("embedding_store", vectors(vector("a"), vector("b"), vector("a", model_version="m2")), batch(0))
    tables.append("embedding_store", vectors(vector("c"), vector("a", embedded_at=at(9))), batch(1))
    found = tables.stored("m1", ["a", "c", "nowhere", "a"])
    assert sorted(found["input_hash"].to_pylist()) == ["a", "c"]
    assert found.column_names == [c for c in vectors().column_names if c != "model_version"]
    by_hash = {r["input_hash"]: r for r in found.to_pylist()}
    assert by_hash["c"]["vector"] == b"c\0\0\0\0\0\0\0"
    assert tables.stored("m1", []).num_rows == tables.stored("m9", ["a"]).num_rows == 0


def test_stored_sees_what_another_process_appended(open_tables: OpenTables):
    reader, writer = open_tables(), open_tables()
    assert reader.stored("m1", ["a"]).num_rows == 0
    writer.append("embedding_store", vectors(vector("a")), batch(0))
    assert reader.stored("m1", ["a"])["input_hash"].to_pylist() == ["a"]


def test_a_replayed_store_append_keeps_one_vector_per_input(open_tables: OpenTables, root: Path):
    open_tables().append("embedding_store", vectors(vector("a")), batch(0))
    tables = open_tables()
    tables.append("embedding_store", vectors(vector("a"), vector("b")), batch(0))
    assert sorted(r["input_hash"] for r in rows_of(root, "embedding_store")) == ["a", "b"]


def test_vectors_of_another_width_are_refused(tables: Tables):
    tables.append("embedding_store", vectors(vector("a", dim=2)), batch(0))
    with pytest.raises(TerminalTableError, match="register a new model version"):
        tables.append("embedding_store", vectors(vector("b", dim=3)), batch(1))
    tables.append("embedding_store", vectors(vector("b", dim=3, model_version="m2")), batch(1))


def test_fields_are_read_at_their_positions(tables: Tables):
    tables.append("text_history", texts(text("j1", "p1"), text("j1", "p2"), text("j2", "p1")), batch(0))
    tables.append("text_history", texts(text("j1", "p3", fields=None, text=None, op="d")), batch(1))
    tables.append("text_history", texts(text("j1", "p1", entity_type="member", fields=[("headline", None)])), batch(2))
    asked = [TextKey("job", "j1", "p2"), TextKey("job", "j1", "p3"), TextKey("job", "j2", "p9")]
    assert tables.fields_of([*asked, TextKey("member", "j1", "p1")]) == {
        TextKey("job", "j1", "p2"): {"title": "j1 at p2"},
        TextKey("member", "j1", "p1"): {"headline": None},
    }
    assert tables.fields_of([]) == {}


def test_a_retracted_append_is_gone_alone_and_can_be_made_again(open_tables: OpenTables, root: Path):
    tables = open_tables()
    for number in range(3):
        row = history(f"j{number}", "p1", writer_batch=number)
        tables.append("embedding_history", histories(row), batch(number))
    open_tables().append("embedding_history", histories(history("j9", "p1", writer_query="s2")), batch(0, "s2"))
    tables.retract("embedding_history", batch(2))
    tables.retract("embedding_history", batch(7))
    assert ids(root, "embedding_history") == ["j0", "j1", "j9"]
    tables.append("embedding_history", histories(history("j3", "p1", writer_batch=2)), batch(2))
    assert ids(root, "embedding_history") == ["j0", "j1", "j3", "j9"]


def test_what_a_batch_quarantined_can_be_retracted(open_tables: OpenTables, root: Path):
    tables = open_tables()
    for number in range(2):
        tables.append("quarantine", quarantined(f"t:0:{number}", batch(number).attempt), batch(number))
    tables.retract("quarantine", batch(0))
    assert [row["quarantine_id"] for row in rows_of(root, "quarantine")] == ["t:0:1"]


# -- two writers ------------------------------------------------------------------------------------------------


def test_a_plan_made_on_rows_that_changed_since_is_refused_and_can_be_made_again(open_tables: OpenTables):
    mine, theirs = open_tables(), open_tables()
    mine.merge_current(pointers(pointer("j1", "p1"), pointer("j2", "p1")), batch(0))
    assert known(mine, "j1", "j2") == {"j1": ("p1", 1), "j2": ("p1", 1)}
    theirs.merge_current(pointers(pointer("j1", "p2")), batch(0, "s2"))
    with pytest.raises(CommitConflictError, match="plan again"):
        mine.merge_current(pointers(pointer("j1", "p3"), pointer("j2", "p3")), batch(1))
    assert known(mine, "j1", "j2") == {"j1": ("p2", 1), "j2": ("p1", 1)}, "nothing of the refused merge is there"
    mine.merge_current(pointers(pointer("j1", "p3"), pointer("j2", "p3")), batch(1))
    assert known(mine, "j1", "j2") == {"j1": ("p3", 1), "j2": ("p3", 1)}


def test_a_key_that_somebody_else_made_meanwhile_is_a_conflict_too(open_tables: OpenTables):
    mine, theirs = open_tables(), open_tables()
    assert known(mine, "new") == {}
    theirs.merge_current(pointers(pointer("new", "p1")), batch(0, "s2"))
    with pytest.raises(CommitConflictError):
        mine.merge_current(pointers(pointer("new", "p2")), batch(0))


def test_other_keys_of_the_same_buckets_do_not_disturb(open_tables: OpenTables):
    mine, theirs = open_tables(), open_tables()
    some = [f"mine{i}" for i in range(20)]
    assert known(mine, *some) == {}
    theirs.merge_current(pointers(*(pointer(f"theirs{i}", "p1") for i in range(20))), batch(0, "s2"))
    mine.merge_current(pointers(*(pointer(i, "p1") for i in some)), batch(0))
    assert len(mine.live_keys("m1", "job")) == 40


def test_two_streams_append_side_by_side(open_tables: OpenTables, root: Path):
    one, two = open_tables(), open_tables()
    for number in range(3):
        one.append("text_history", texts(text("j1", f"p{number}")), batch(number, "one"))
        two.append("text_history", texts(text("j2", f"p{number}")), batch(number, "two"))
    assert ids_and_positions(root) == [(j, f"p{n}") for j in ("j1", "j2") for n in range(3)]


def ids(root: Path, table: str) -> list[str]:
    return sorted(row["entity_id"] for row in rows_of(root, table))
