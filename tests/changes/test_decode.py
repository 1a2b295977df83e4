"""Every kind of record that a topic may hold: what is read from it, or why it goes to quarantine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from jude.changes.decode import decode
from jude.changes.position import MAX_EPOCH, Position, parse_position, tombstone_position
from jude.entities import Entities, Entity, TextField
from tests.stories import (
    COMMITTED_MS,
    JOBS,
    NOW,
    PLACEHOLDER,
    delete,
    entities,
    envelope,
    job,
    record,
    records,
    tombstone,
    upsert,
)

ENTITIES = entities()
ROW = {"id": "j1", **job()}
COMMITTED = datetime.fromtimestamp(COMMITTED_MS / 1000, UTC)


def one(row: dict[str, Any]) -> dict[str, Any]:
    (change,) = decode(records([row]), ENTITIES, 0, NOW).changes.to_pylist()
    return change


def with_source(**source: Any) -> dict[str, Any]:
    value = envelope("u", ROW, 10)
    value["source"] = {**value["source"], **source}
    return record({"id": "j1"}, value, offset=7)


def test_an_update_is_read():
    change = one(upsert("j1", 10, job("Baker", status="open"), tx_order=3))
    assert (change["entity_type"], change["entity_id"], change["op"]) == ("job", "j1", "u")
    assert change["position"] == str(Position(0, 10, 1, 3, 0))
    assert dict(change["fields"]) == {
        "title": "Baker",
        "organisation": "GSA",
        "location": "Remote",
        "description": "Builds things.",
    }
    assert (change["source_ts"], change["error_class"]) == (COMMITTED, None)


BAD_VALUES = [
    (b"{not json", "not_json"),
    (b"\xff\xfe{}", "invalid_utf8"),
    (b"", "not_json"),
    (b"[1, 2]", "not_an_envelope"),
    (b'"text"', "not_an_envelope"),
    (b"{}", "not_an_envelope"),
    ({"schema": {}, "payload": envelope("u", ROW, 1)}, "not_an_envelope"),
    ({"op": "u", "after": ROW}, "not_an_envelope"),
    (envelope("x", ROW, 1), "unknown_op"),
    (envelope(None, ROW, 1), "unknown_op"),
    (envelope(["u"], ROW, 1), "unknown_op"),
    ({k: v for k, v in envelope("u", ROW, 1).items() if k != "after"}, "no_after"),
    (envelope("c", None, 1), "no_after"),
    (envelope("u", "row", 1), "no_after"),
    (envelope("u", ROW, "10"), "bad_lsn"),
    (envelope("u", ROW, -1), "bad_lsn"),
    (envelope("u", ROW, 1.5), "bad_lsn"),
    (envelope("u", ROW, True), "bad_lsn"),
    (orjson.dumps(envelope("u", ROW, 77)).replace(b"77", b"18446744073709551616"), "bad_lsn"),
    (orjson.dumps(envelope("u", ROW, 77)).replace(b"77", b"1" * 40), "bad_lsn"),
    (envelope("u", ROW, 1, tx_order=2**32), "bad_transaction"),
    (envelope("u", ROW, 1, tx_order=-1), "bad_transaction"),
    (envelope("u", ROW, 1) | {"transaction": {"total_order": "1"}}, "bad_transaction"),
    (envelope("u", {**ROW, "title": 7}, 1), "wrong_field_type"),
    (envelope("u", {**ROW, "title": {"de": "Koch"}}, 1), "wrong_field_type"),
    (envelope("u", {**ROW, "title": ["a"]}, 1), "wrong_field_type"),
    (envelope("u", {"id": "j1", "title": "Baker"}, 1), "missing_field"),
    (envelope("u", {**ROW, "description": "x" * 10_000_000}, 1), "text_too_large"),
    (envelope("u", {**ROW, "description": "€" * 400_000}, 1), "text_too_large"),
    (b"[" * 100_000, "not_json"),
]


@pytest.mark.parametrize(("value", "error_class"), BAD_VALUES, ids=[f"{n}-{c}" for n, (_, c) in enumerate(BAD_VALUES)])
def test_a_bad_value_is_a_row_with_an_error(value: Any, error_class: str):
    change = one(record({"id": "j1"}, value, offset=7))
    assert change["error_class"] == error_class
    assert change["error"]
    assert "Baker" not in change["error"]
    assert (change["entity_type"], change["entity_id"], change["offset"]) == ("job", "j1", 7)


BAD_KEYS = [
    (None, "no_key"),
    (b"{not json", "not_json"),
    (b"\xff", "invalid_utf8"),
    ({}, "bad_key"),
    ({"key": "j1"}, "bad_key"),
    ({"id": None}, "bad_key"),
    ({"id": ""}, "bad_key"),
    ({"id": True}, "bad_key"),
    ({"id": 1.5}, "bad_key"),
    ({"id": ["j1"]}, "bad_key"),
    ("j1", "bad_key"),
    ({"id": "k" * 10_000}, "key_too_large"),
]


@pytest.mark.parametrize(("key", "error_class"), BAD_KEYS, ids=[f"{n}-{c}" for n, (_, c) in enumerate(BAD_KEYS)])
def test_a_bad_key_is_a_row_with_an_error(key: Any, error_class: str):
    change = one(record(key, envelope("u", ROW, 1)))
    assert (change["error_class"], change["entity_id"]) == (error_class, None)


@pytest.mark.parametrize(
    ("key", "value", "hint"),
    [
        ({"schema": {}, "payload": {"id": "j1"}}, envelope("u", ROW, 1), ": set key.converter.schemas.enable=false"),
        ({"id": "j1"}, {"schema": {}, "payload": {}}, ": set value.converter.schemas.enable=false"),
        ({"id": "j1"}, ROW, ": no transform may unwrap it"),
        ({"id": "j1"}, envelope("u", {**ROW, "title": ["Cook"]}, 1), ": its kind in the entity file would be list"),
    ],
)
def test_what_a_setting_would_mend_is_said(key: Any, value: dict[str, Any], hint: str):
    assert one(record(key, value))["error"].endswith(hint)


def test_a_whole_number_key_is_text():
    assert one(record({"id": 42}, envelope("u", ROW, 1)))["entity_id"] == "42"


def test_an_unknown_topic_is_a_row_with_an_error():
    change = one(upsert("j1", 1, job(), topic="jude.public.invoices"))
    assert (change["error_class"], change["entity_type"]) == ("unknown_topic", None)


def test_what_the_source_could_not_read_keeps_the_source_s_word():
    row = record(None, b"garbage", topic="file:a.jsonl", offset=3)
    row["headers"] = [
        {"key": "jude.error_class", "value": b"not_json"},
        {"key": "jude.error", "value": b"line 3 is not JSON"},
    ]
    change = one(row)
    assert (change["error_class"], change["error"]) == ("not_json", "line 3 is not JSON")


def test_a_record_of_an_entity_is_read_whatever_its_other_headers_hold():
    row = upsert("j1", 10, job())
    row["headers"] = [{"key": "jude.error_class", "value": None}, {"key": "trace", "value": b"\xff"}]
    assert one(row)["error_class"] is None


def test_a_reason_that_is_no_text_does_not_stop_the_batch():
    row = record(None, b"garbage", topic="file:a.jsonl")
    row["headers"] = [{"key": "jude.error_class", "value": b"\xff"}, {"key": "jude.error", "value": None}]
    assert one(row)["error_class"] == "\ufffd"


def test_without_lsn_the_offset_orders():
    positions = [parse_position(one(with_source(lsn=lsn))["position"]) for lsn in (0, None, 10)]
    assert positions == [(0, 0, 1, 0, 7), (0, 0, 1, 0, 7), (0, 10, 1, 0, 0)]


def test_without_lsn_the_order_within_one_transaction_says_nothing_about_the_next():
    """A connector that names no lsn may name the order: it begins at 1 with every transaction."""
    source = {"source": {"ts_ms": COMMITTED_MS, "connector": "mysql"}}
    first, second = (
        record({"id": "j1"}, envelope("u", ROW, None, tx_order=order) | source, offset=offset)
        for order, offset in ((5, 1), (1, 2))
    )
    assert one(first)["position"] < one(second)["position"]


@pytest.mark.parametrize("ts_ms", [0, -5, 1_767_268_799, 10**18, "soon", None, True])
def test_an_unbelievable_commit_time_gives_way_to_the_broker_s(ts_ms: Any):
    """Zero, seconds for milliseconds, the far future, not a number."""
    assert one(with_source(ts_ms=ts_ms))["source_ts"] == NOW


def test_a_commit_time_ahead_of_our_clock_by_a_day_is_believed():
    ahead = NOW + timedelta(hours=20)
    assert one(with_source(ts_ms=int(ahead.timestamp() * 1000)))["source_ts"] == ahead


def test_lone_surrogates_nul_and_marks_are_read():
    raw = orjson.dumps(envelope("u", ROW, 1)).replace(b"Engineer", rb"Engi\ud800neer \u0000 \u200f")
    title = dict(one(record({"id": "j1"}, raw))["fields"])["title"]
    assert title == "Engi\ufffdneer \0 \u200f"


def test_placeholders_are_named_not_read():
    change = one(upsert("j1", 10, job("Baker", PLACEHOLDER)))
    assert change["unavailable"] == ["description"]
    assert "description" not in dict(change["fields"])


def test_a_placeholder_in_an_array_column_is_named_too():
    row = {"title": "Cook", "summary": "s", "skills": [PLACEHOLDER], "experience": "e"}
    assert one(upsert("r1", 10, row, topic="jude.public.resumes"))["unavailable"] == ["skills"]


def test_a_key_change_names_the_old_key():
    assert one(upsert("j2", 10, job(), op="c", tx_order=2, old="j1"))["old_entity_id"] == "j1"


def test_a_delete_reads_the_key_only():
    change = one(delete("j1", 10))
    assert (change["op"], change["fields"], change["entity_id"]) == ("d", None, "j1")


def test_a_tombstone_has_no_position():
    change = one(tombstone("j1", 9))
    assert (change["op"], change["position"], change["error_class"]) == ("tombstone", None, None)


def test_control_records_are_counted_and_dropped():
    rows = [
        record(None, {"ts_ms": 1}, topic="__debezium-heartbeat.jude"),
        record({"id": "1:2"}, {"status": "BEGIN"}, topic="jude.transaction"),
        record(None, {"op": "m", "message": {}, "source": {"lsn": 1}}, topic=JOBS),
        record({"prefix": "p"}, {"op": "m", "message": {}, "source": {"lsn": 1}}, topic=JOBS),
        record({"prefix": "p"}, {"op": "m", "message": {}, "source": {"lsn": 1}}, topic="jude.message"),
        upsert("j1", 1, job()),
    ]
    decoded = decode(records(rows), ENTITIES, 0, NOW)
    assert (decoded.control, decoded.changes["record"].to_pylist()) == (5, [5])


def test_a_table_may_be_called_transaction():
    orders = Entity("order", "shop.public.transaction", "id", (TextField("title"),), "title")
    row = upsert("o1", 1, {"title": "Two chairs"}, topic=orders.topic)
    decoded = decode(records([row]), Entities([orders]), 0, NOW)
    assert (decoded.control, decoded.changes["entity_id"].to_pylist()) == (0, ["o1"])


@pytest.mark.parametrize("key", [None, {"id": "j1"}])
def test_a_truncate_is_taken_out_for_a_decision(key: Any):
    decoded = decode(records([record(key, envelope("t", None, 50))]), ENTITIES, 0, NOW)
    assert [(t.entity_type, t.position) for t in decoded.truncates] == [("job", str(Position(0, 50, 1, 0, 0)))]
    assert decoded.changes.num_rows == 0


def test_an_empty_batch_decodes_to_nothing():
    assert decode(records([]), ENTITIES, 0, NOW).changes.num_rows == 0


def test_positions_sort_as_strings_like_the_tuples():
    places = [
        Position(e, lsn, s, t, o)
        for e in (0, 1)
        for lsn in (0, 9, 2**64 - 1)
        for s in (0, 1)
        for t in (0, 10)
        for o in (0, 2**63 - 1)
    ]
    assert sorted(map(str, places)) == [str(p) for p in sorted(places)]
    assert all(parse_position(str(p)) == p for p in places)


def test_the_last_position_of_all_has_the_width_of_every_other():
    """A wider one would sort before smaller ones."""
    last = upsert("j1", 2**64 - 1, job(), tx_order=2**32 - 1, offset=0)
    (change,) = decode(records([last]), ENTITIES, MAX_EPOCH, NOW).changes.to_pylist()
    assert change["position"] == "ffffffff-ffffffffffffffff-1-ffffffff-0000000000000000"


def test_a_tombstone_stands_just_after_the_stored_change():
    stored, later = str(Position(0, 10, 1, 2, 0)), str(Position(0, 10, 1, 3, 0))
    assert stored < tombstone_position(stored, 99) < later


ARTICLES = Entity(
    "article", "press.public.articles", "id", (TextField("title"), TextField("tags", kind="list")), "title",
    updated_at="edited",
)  # fmt: skip


def article(**columns: Any) -> dict[str, Any]:
    rows = [upsert("a1", 1, {"title": "Bread", "tags": None, "edited": None} | columns, topic=ARTICLES.topic)]
    (change,) = decode(records(rows), Entities([ARTICLES]), 0, NOW).changes.to_pylist()
    return change


@pytest.mark.parametrize(
    ("edited", "source_ts"),
    [
        ("2024-05-01T10:00:00+02:00", datetime(2024, 5, 1, 8, tzinfo=UTC)),
        ("2024-05-01T10:00:00", datetime(2024, 5, 1, 10, tzinfo=UTC)),
        (1_714_557_600_000, datetime(2024, 5, 1, 10, tzinfo=UTC)),
        ("the first of May", COMMITTED),
        ("9999-01-01T00:00:00", COMMITTED),
        (True, COMMITTED),
        (None, COMMITTED),
    ],
)
def test_an_entity_may_have_a_column_that_says_when_it_changed(edited: Any, source_ts: datetime):
    assert article(edited=edited)["source_ts"] == source_ts


def test_a_delete_has_no_column_that_says_when():
    gone = records([delete("a1", 2, topic=ARTICLES.topic)])
    (change,) = decode(gone, Entities([ARTICLES]), 0, NOW).changes.to_pylist()
    assert (change["op"], change["source_ts"], change["error_class"]) == ("d", COMMITTED, None)


@pytest.mark.parametrize(
    ("tags", "read"),
    [(["rye", None, "yeast"], '["rye","yeast"]'), ([], "[]"), ([None], "[]"), (None, None), ("rye", "rye")],
)
def test_a_list_column_is_read_as_json_without_its_nulls(tags: Any, read: str | None):
    assert dict(article(tags=tags)["fields"])["tags"] == read


@pytest.mark.parametrize("tags", [["rye", 7], [["rye"]], {"rye": 1}, 7])
def test_a_list_column_holds_texts_and_nothing_else(tags: Any):
    assert article(tags=tags)["error_class"] == "wrong_field_type"
