"""Records that nobody wants, through the whole path: the good ones are applied, the bad ones wait, nothing is lost."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from jude.errors import TerminalSourceError
from jude.online.sqlite import SqliteStore
from jude.stream.micro_batch import Applied, apply_batch
from jude.stream.pipeline import Pipeline
from jude.stream.planned import plan_on_driver
from jude.tables.native import NativeTables
from jude.tables.protocol import Txn
from tests.memory import MemoryOnline, MemoryTables
from tests.stories import NOW, PLACEHOLDER, Record, delete, envelope, job, record, records, tombstone, upsert
from tests.stream.making import make_pipeline
from tests.stream.reading import rows_of

FATES = ("quarantined", "superseded", "stale", "unchanged", "deleted", "changed")
SOURCES = ("duplicate_in_batch", "already_stored", "inferences")
MEMBERS = "jude.public.members"
RAW = ("key", "value", "headers", "timestamp", "topic", "partition", "offset")


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[Pipeline]:
    """Delta tables and SQLite in a folder; the clock goes one second further with each look."""
    tables, ticks = NativeTables(tmp_path, buckets=2), itertools.count()
    tables.ensure()
    online = SqliteStore(tmp_path / "online.sqlite")
    yield make_pipeline(tables, online, clock=lambda: NOW + timedelta(seconds=next(ticks)))
    online.close()


def apply(pipeline: Pipeline, rows: list[Record], number: int = 0, query: str = "q1") -> Applied:
    batch = records(rows)
    return apply_batch(lambda: plan_on_driver(batch, pipeline), pipeline, Txn("stream", query, number))


def live_texts(root: Path) -> dict[str, str]:
    """entity_id -> the text whose vector readers get now."""
    texts = {(r["entity_id"], r["position"]): r["text"] for r in rows_of(root, "text_history")}
    current = rows_of(root, "embedding_current")
    return {r["entity_id"]: texts[r["entity_id"], r["text_position"]] for r in current if r["status"] == "live"}


def check_ledger(root: Path, events: int) -> None:
    """Every event that came in has one fate, every change one source of its vector."""
    ledger = rows_of(root, "ledger")
    assert sum(row["events_in"] for row in ledger) == events
    for row in ledger:
        assert row["events_in"] == sum(row[fate] for fate in FATES)
        assert row["changed"] == sum(row[source] for source in SOURCES)


def text_of(title: str, description: str = "Builds things.") -> str:
    return f"Title: {title}\nOrganisation: GSA\nLocation: Remote\n{description}"


BAD_ROW = {"id": "bad", **job()}
NO_AFTER = {k: v for k, v in envelope("u", BAD_ROW, 50).items() if k != "after"}
NO_SOURCE = {k: v for k, v in envelope("u", BAD_ROW, 50).items() if k != "source"}
EMPTY = {"title": "", "organisation": "", "location": "", "description": ""}
FAULT = {"jude.error_class": "truncated_gzip", "jude.error": "the file ends early"}

# value, error class: all under the key {"id": "bad"}
BAD_VALUES: list[tuple[Any, str]] = [
    (b"{not json", "not_json"),
    (b"", "not_json"),
    (b"[" * 100_000, "not_json"),
    (b"\xff\xfe{}", "invalid_utf8"),
    (b"[1, 2]", "not_an_envelope"),
    ({"schema": {}, "payload": envelope("u", BAD_ROW, 50)}, "not_an_envelope"),
    (NO_SOURCE, "not_an_envelope"),
    (envelope("x", BAD_ROW, 50), "unknown_op"),
    (NO_AFTER, "no_after"),
    (envelope("c", None, 50), "no_after"),
    (envelope("u", BAD_ROW, "50"), "bad_lsn"),
    (envelope("u", BAD_ROW, -1), "bad_lsn"),
    (orjson.dumps(envelope("u", BAD_ROW, 77)).replace(b"77", b"18446744073709551616"), "bad_lsn"),
    (envelope("u", BAD_ROW, 50, tx_order=-1), "bad_transaction"),
    (envelope("u", {**BAD_ROW, "title": 7}, 50), "wrong_field_type"),
    (envelope("u", {"id": "bad", "title": "Baker"}, 50), "missing_field"),
    (envelope("u", {**BAD_ROW, **EMPTY}, 50), "empty_text"),
    (envelope("u", {**BAD_ROW, **EMPTY, "description": " \t\u00a0\u200b\n "}, 50), "empty_text"),
    (envelope("u", {**BAD_ROW, **EMPTY, "description": "<p><br/></p><!-- x -->"}, 50), "empty_text"),
    (envelope("u", {**BAD_ROW, "description": "x" * 10_000_000}, 50), "text_too_large"),
    (envelope("u", {**BAD_ROW, "description": PLACEHOLDER}, 50), "text_unavailable"),
]
# key, error class: all with a good value
BAD_KEYS: list[tuple[Any, str]] = [
    (None, "no_key"),
    (b"{not json", "not_json"),
    (b"\xff", "invalid_utf8"),
    ({"key": "bad"}, "bad_key"),
    ({"id": ["bad"]}, "bad_key"),
    ({"id": "k" * 10_000}, "key_too_large"),
]


def garbage() -> list[tuple[Record, str]]:
    """One record of every kind that cannot be applied, and its error class."""
    good = envelope("u", BAD_ROW, 50)
    bad: list[tuple[Record, str]] = [(record({"id": "bad"}, v, headers={"n": 1}), c) for v, c in BAD_VALUES]
    bad += [(record(key, good, headers={"n": 1}), error_class) for key, error_class in BAD_KEYS]
    bad.append((record({"id": "bad"}, good, headers={"__debezium.oldkey": "not an object"}), "bad_key"))
    bad.append((record({"id": "bad"}, good, topic="jude.public.invoices"), "unknown_topic"))
    faulty = record(None, b'{"topic": "jude.pub', topic="file:0007.jsonl.gz")
    faulty["headers"] = [{"key": k, "value": v.encode()} for k, v in FAULT.items()]
    bad.append((faulty, "truncated_gzip"))
    return [({**row, "offset": 1_000 + n}, error_class) for n, (row, error_class) in enumerate(bad)]


def odd_but_good() -> list[Record]:
    """What looks strange and can be read all the same."""
    lone_surrogate = orjson.dumps(envelope("c", {"id": "j4", **job("T?")}, 14)).replace(b"T?", rb"Cook \ud800")
    no_lsn = envelope("c", {"id": "j5", **job("Driver")}, None)
    seconds = envelope("c", {"id": "j6", **job("Nurse")}, 16)
    seconds["source"]["ts_ms"] = 1_767_268_799  # seconds for milliseconds
    future = envelope("c", {"id": "j7", **job("Smith")}, 17)
    future["source"]["ts_ms"] = 10**16
    return [
        upsert("j1", 11, job("Baker")),
        upsert("j1", 11, job("Baker"), offset=900),  # sent twice
        upsert("j2", 12, job("Clerk\x00", "Types\x07 all day.")),
        upsert("j3", 13, job("\u200fCook\u202e", "Cooks.")),
        record({"id": "j4"}, lone_surrogate, offset=14),
        record({"id": "j5"}, no_lsn, offset=15),
        record({"id": "j6"}, seconds, offset=16),
        record({"id": "j7"}, future, offset=17),
    ]


def test_garbage_of_every_kind_waits_in_quarantine_and_the_rest_is_applied(pipeline: Pipeline, tmp_path: Path):
    bad, good = garbage(), odd_but_good()
    mixed = [row for pair in itertools.zip_longest((row for row, _ in bad), good) for row in pair if row]
    apply(replace(pipeline, source_epoch=3), mixed)

    assert set(live_texts(tmp_path)) == {"j1", "j2", "j3", "j4", "j5", "j6", "j7"}
    assert live_texts(tmp_path)["j1"] == text_of("Baker")
    check_ledger(tmp_path, len(mixed))

    rows = {(row["topic"], row["offset"]): row for row in rows_of(tmp_path, "quarantine")}
    assert len(rows) == len(bad) >= 25
    for row, error_class in bad:
        found = rows[row["topic"], row["offset"]]
        assert (found["error_class"], found["status"], found["source_epoch"]) == (error_class, "open", 3)
        assert {name: found[name] for name in RAW} == {name: row[name] for name in RAW}
        assert found["error"]
        assert "Baker" not in found["error"]

    apply(replace(pipeline, source_epoch=3), [upsert("bad", 60, job("Now good")), upsert("j1", 61, job("Cook"))], 1)
    assert live_texts(tmp_path)["bad"] == text_of("Now good")
    assert live_texts(tmp_path)["j1"] == text_of("Cook")
    check_ledger(tmp_path, len(mixed) + 2)


def test_a_batch_of_nothing_but_garbage_commits_too(pipeline: Pipeline, tmp_path: Path):
    applied = apply(pipeline, [row for row, _ in garbage()])
    assert len(applied.quarantined) == len(garbage())
    assert rows_of(tmp_path, "embedding_current") == []
    check_ledger(tmp_path, len(garbage()))


def test_no_error_sentence_holds_a_text_or_a_key(pipeline: Pipeline, tmp_path: Path):
    secret = "Ada Lovelace"
    apply(pipeline, [
        record({"id": secret}, {"op": secret}, offset=1), record({"id": secret}, f"{{{secret}".encode(), offset=2),
        record({"wrong": secret}, envelope("u", BAD_ROW, 1), offset=3),
        record({"id": secret}, envelope("u", {**BAD_ROW, "title": {"name": secret}}, 1), offset=4),
        record({"id": secret}, envelope("u", BAD_ROW, secret), offset=5),
    ])  # fmt: skip
    sentences = [row["error"] for row in rows_of(tmp_path, "quarantine", without=["key", "value"])]
    assert len(sentences) == 5
    assert not [sentence for sentence in sentences if "Lovelace" in sentence]


def test_ten_thousand_changes_of_one_key_cost_one_inference(pipeline: Pipeline, tmp_path: Path):
    changes = [upsert("j1", lsn, job("Baker", f"Bakes {lsn} cakes.")) for lsn in range(1, 10_001)]
    applied = apply(pipeline, changes)
    assert applied.counts["job"].inferences == 1
    assert applied.counts["job"].superseded == 9_999
    texts = {row["text"] for row in rows_of(tmp_path, "text_history")}
    assert texts == {text_of("Baker", f"Bakes {lsn} cakes.") for lsn in range(1, 10_001)}
    assert live_texts(tmp_path) == {"j1": text_of("Baker", "Bakes 10000 cakes.")}
    assert len(rows_of(tmp_path, "embedding_store")) == len(rows_of(tmp_path, "embedding_history")) == 1


def member(key: str, lsn: int) -> Record:
    return upsert(key, lsn, {"headline": "Nurse", "experience": "Ten years."}, topic=MEMBERS)


TRUNCATE = record(None, envelope("t", None, 30), offset=30)


def test_a_truncate_stops_the_stream_and_commits_nothing(pipeline: Pipeline, tmp_path: Path):
    apply(pipeline, [upsert("j1", 10, job("Baker"))])
    with pytest.raises(TerminalSourceError, match=r"table of job was truncated.*stream\.truncate"):
        apply(pipeline, [upsert("j2", 20, job("Cook")), TRUNCATE], 1)
    assert set(live_texts(tmp_path)) == {"j1"}
    check_ledger(tmp_path, 1)


def test_a_truncate_deletes_every_key_of_its_table_if_the_operator_wants_it(pipeline: Pipeline, tmp_path: Path):
    pipeline = replace(pipeline, truncate="delete_all")
    apply(pipeline, [upsert("j1", 10, job("Baker")), upsert("j2", 11, job("Clerk")), member("m1", 12)])
    apply(pipeline, [upsert("j3", 20, job("Cook")), TRUNCATE, upsert("j2", 40, job("Clerk"))], 1)
    current = {(r["entity_type"], r["entity_id"]): r["status"] for r in rows_of(tmp_path, "embedding_current")}
    assert current == {
        ("job", "j1"): "deleted",
        ("job", "j2"): "live",
        ("job", "j3"): "deleted",
        ("member", "m1"): "live",
    }
    deletes = {row["entity_id"] for row in rows_of(tmp_path, "text_history") if row["text"] is None}
    assert deletes == {"j1", "j2", "j3"}
    served = pipeline.online.get_many(pipeline.model_version, "job", ["j1", "j2", "j3"])
    assert [vector is not None for vector in served] == [False, True, False]


def test_a_bad_record_that_a_newer_change_overtook_is_not_quarantined_again(pipeline: Pipeline, tmp_path: Path):
    """A lost checkpoint: everything is read once more, under the id of another query."""
    story = [
        [upsert("j1", 10, job("Baker")), upsert("j1", 20, {**job("Baker"), "title": 7})],
        [upsert("j1", 30, job("Cook"))],
    ]
    for number, rows in enumerate(story):
        apply(pipeline, rows, number)
    before = rows_of(tmp_path, "quarantine")
    assert [row["error_class"] for row in before] == ["wrong_field_type"]
    for number, rows in enumerate(story):
        applied = apply(pipeline, rows, number, query="q2")
        assert applied.counts["job"].stale == len(rows)
    assert rows_of(tmp_path, "quarantine") == before


def test_no_placeholder_is_restored_across_a_quarantined_change(pipeline: Pipeline, tmp_path: Path):
    """What the bad record at 20 said about the description is not known, so the one of 10 may be old."""
    unsent = job("Baker II", PLACEHOLDER)
    apply(pipeline, [upsert("j1", 10, job("Baker", "Bakes."))])
    apply(pipeline, [upsert("j1", 20, {**job("Baker"), "description": ["?"]})], 1)
    apply(pipeline, [upsert("j1", 30, unsent)], 2)
    assert live_texts(tmp_path) == {"j1": text_of("Baker", "Bakes.")}
    assert [r["error_class"] for r in rows_of(tmp_path, "quarantine")] == ["wrong_field_type", "text_unavailable"]

    apply(pipeline, [upsert("j1", 40, job("Baker III", "Bakes more."))], 3)  # full values close the gap
    apply(pipeline, [upsert("j1", 50, job("Baker IV", PLACEHOLDER))], 4)
    assert live_texts(tmp_path) == {"j1": text_of("Baker IV", "Bakes more.")}


def test_bad_records_of_a_key_do_not_disturb_its_delete():
    tables, online = MemoryTables(), MemoryOnline()
    pipeline = make_pipeline(tables, online)
    apply(pipeline, [upsert("j1", 10, job("Baker"))])
    apply(pipeline, [record({"id": "j1"}, b"{broken", offset=15), delete("j1", 20), tombstone("j1", 21)], 1)
    (current,) = tables.rows["embedding_current"].values()
    (put, _) = next(iter(online.rows.values()))
    assert (current["status"], put.vector) == ("deleted", None)


def test_no_placeholder_is_restored_across_a_record_that_could_not_be_read_at_all(pipeline: Pipeline, tmp_path: Path):
    """Its position is unknown, but the broker holds it between the two others: it may have changed the description."""
    apply(pipeline, [upsert("j1", 10, job("Baker", "Bakes.")), upsert("j2", 11, job("Cook", "Cooks."))])
    story = [
        record({"id": "j1"}, b"{broken", offset=20),
        upsert("j1", 30, job("Baker II", PLACEHOLDER)),
        upsert("j3", 12, job("Nurse", "Helps.")),
        record({"id": "j3"}, b"{broken", offset=21),
        upsert("j3", 31, job("Nurse II", PLACEHOLDER)),
        record({"id": "j2"}, b"{broken", offset=5),  # read again: the broker holds it before what is stored
        upsert("j2", 32, job("Cook II", PLACEHOLDER)),
    ]
    apply(pipeline, story, 1)
    assert live_texts(tmp_path) == {
        "j1": text_of("Baker", "Bakes."),
        "j2": text_of("Cook II", "Cooks."),
        "j3": text_of("Nurse", "Helps."),
    }
    apply(pipeline, [upsert("j1", 40, job("Baker III", "Bakes more.")), upsert("j1", 50, job("Chef", PLACEHOLDER))], 2)
    assert live_texts(tmp_path)["j1"] == text_of("Chef", "Bakes more.")


def test_the_tombstone_of_a_redelivered_delete_does_not_delete_a_key_that_lives_again():
    """The connector restarts and sends the last records once more; the batch is cut between delete and tombstone."""
    tables = MemoryTables()
    pipeline = make_pipeline(tables, MemoryOnline())
    apply(pipeline, [upsert("j1", 10, job("Baker"), offset=1), delete("j1", 20, offset=2), tombstone("j1", 3)])
    apply(pipeline, [upsert("j1", 30, job("Baker"), op="c", offset=4), delete("j1", 20, offset=5)], 1)
    apply(pipeline, [tombstone("j1", 6), upsert("j1", 30, job("Baker"), op="c", offset=7)], 2)
    (current,) = tables.rows["embedding_current"].values()
    assert current["status"] == "live"
    apply(pipeline, [tombstone("j1", 8)], 3)  # compaction ate the delete of this one
    (current,) = tables.rows["embedding_current"].values()
    assert current["status"] == "deleted"
