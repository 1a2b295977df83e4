from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jude.errors import TerminalTableError
from jude.tables.protocol import TextKey
from jude.tables.reading import (
    Titled,
    current_pointers,
    history_of,
    last_batches,
    ledger_totals,
    model_of_alias,
    open_quarantine,
    titles,
)
from jude.tables.spec import TABLES
from jude.tables.vectors import search, vectors_of
from tests.tables.shelf import bfloat16, empty, float32, minutes, write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return empty(tmp_path)


def pointer(entity_id: str, input_hash: str | None, position: str = "1", **more: Any) -> dict[str, Any]:
    return {"entity_id": entity_id, "input_hash": input_hash, "position": position, "text_position": position} | more


def test_pointers_of_one_version_type_and_status(root: Path) -> None:
    write(
        root,
        "embedding_current",
        pointer("j1", "h1"),
        pointer("j2", None, status="deleted"),
        pointer("j3", "h3", model_version="m2"),
        pointer("p1", "h4", entity_type="member"),
    )
    assert current_pointers(root, "job", "m1")["entity_id"].to_pylist() == ["j1"]
    assert current_pointers(root, "job", "m1", "deleted")["entity_id"].to_pylist() == ["j2"]
    assert sorted(current_pointers(root, None, "m1", None)["entity_id"].to_pylist()) == ["j1", "j2", "p1"]
    assert current_pointers(root, "job", "m1").schema.names == [c.name for c in TABLES["embedding_current"].columns]


def test_a_missing_table_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(TerminalTableError, match="no table embedding_current under"):
        current_pointers(tmp_path, "job", "m1")


def test_a_doubled_vector_is_read_once(root: Path) -> None:
    write(root, "embedding_store", {"input_hash": "h1"} | float32(1, 2), {"input_hash": "h2"} | float32(3, 4))
    write(root, "embedding_store", {"input_hash": "h1"} | float32(1, 2))
    write(root, "embedding_store", {"input_hash": "h1", "model_version": "m2"} | float32(9, 9))
    hashes, vectors = vectors_of(root, "m1")
    assert dict(zip(hashes, vectors.tolist(), strict=True)) == {"h1": [1, 2], "h2": [3, 4]}
    assert vectors.dtype == np.float32
    hashes, vectors = vectors_of(root, "m1", ["nobody", "h1", "h1"])
    assert (hashes, vectors.tolist()) == (["h1"], [[1, 2]])
    assert vectors_of(root, "m1", ["nobody"])[0] == []
    assert vectors_of(root, "m3")[1].shape == (0, 0)


def test_bfloat16_is_read_as_float32(root: Path) -> None:
    write(root, "embedding_store", {"input_hash": "h1"} | bfloat16(1.0, -0.5, 0.0, 3.140625))
    assert vectors_of(root, "m1")[1].tolist() == [[1.0, -0.5, 0.0, 3.140625]]


def test_two_widths_in_one_version_are_refused(root: Path) -> None:
    write(root, "embedding_store", {"input_hash": "h1"} | float32(1, 2), {"input_hash": "h2"} | float32(1, 2, 3))
    with pytest.raises(TerminalTableError, match="in one model version"):
        vectors_of(root, "m1")


@pytest.fixture
def jobs(root: Path) -> Path:
    """Two nurses who share a vector, a cook, a deleted driver, and a member with the cook's direction."""
    texts = {"j1": "Nurse\nnight shift", "j2": "Nurse\nday shift", "j3": "Cook", "p1": "Cook"}
    for entity_id, text in texts.items():
        kind = "member" if entity_id == "p1" else "job"
        write(root, "text_history", {"entity_type": kind, "entity_id": entity_id, "position": "1", "text": text})
    write(
        root,
        "text_history",
        {"entity_id": "j3", "position": "2", "text": "Chef cook", "fields": {"title": " The  chef"}},
    )
    write(
        root,
        "embedding_store",
        {"input_hash": "nurse"} | float32(2, 0),
        {"input_hash": "cook"} | float32(0, 1),
        {"input_hash": "chef"} | float32(1, 1),
        {"input_hash": "driver"} | float32(5, 0),
    )
    write(root, "embedding_store", {"input_hash": "nurse"} | float32(2, 0))
    write(
        root,
        "embedding_current",
        pointer("j2", "nurse"),
        pointer("j1", "nurse"),
        pointer("j3", "chef", "3", text_position="2"),
        pointer("j4", "driver", status="deleted"),
        pointer("p1", "cook", entity_type="member"),
    )
    return root


def test_search_finds_live_entities_by_cosine(jobs: Path) -> None:
    hits = search(jobs, np.array([1, 0], np.float32), "job", "m1", k=3)
    assert [(h.entity_id, round(h.score, 4), h.title, h.snippet) for h in hits] == [
        ("j1", 1.0, "Nurse", "Nurse night shift"),
        ("j2", 1.0, "Nurse", "Nurse day shift"),
        ("j3", 0.7071, "The chef", "Chef cook"),
    ]
    assert [h.entity_id for h in search(jobs, np.array([0, 3], np.float32), "job", "m1", k=1)] == ["j3"]
    assert [h.entity_id for h in search(jobs, np.array([1, 0], np.float32), "member", "m1")] == ["p1"]
    assert search(jobs, np.array([1, 0], np.float32), "resume", "m1") == []


def test_search_agrees_with_brute_force(root: Path) -> None:
    random = np.random.default_rng(7)
    vectors = random.normal(size=(500, 8)).astype(np.float32)
    query = random.normal(size=8).astype(np.float32)
    for part in range(5):
        ids = range(part * 100, part * 100 + 100)
        write(root, "embedding_store", *({"input_hash": f"h{i}"} | float32(*vectors[i]) for i in ids))
    write(root, "embedding_current", *(pointer(f"j{i}", f"h{i}") for i in range(500)))
    cosines = vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
    best = np.argsort(-cosines)[:10]
    hits = search(root, query, "job", "m1", k=10)
    assert [h.entity_id for h in hits] == [f"j{i}" for i in best]
    assert [h.score for h in hits] == pytest.approx(cosines[best], abs=1e-6)


def test_a_query_of_another_width_is_refused(jobs: Path) -> None:
    with pytest.raises(TerminalTableError, match="The query has 3 numbers"):
        search(jobs, np.ones(3, np.float32), "job", "m1")


def test_titles_are_the_title_column_or_the_first_line(jobs: Path) -> None:
    keys = [
        TextKey("job", "j3", "2"),
        TextKey("job", "j1", "1"),
        TextKey("member", "p1", "1"),
        TextKey("job", "j1", "9"),
    ]
    assert titles(jobs, keys) == {
        keys[0]: Titled("The chef", "Chef cook"),
        keys[1]: Titled("Nurse", "Nurse\nnight shift"),
        keys[2]: Titled("Cook", "Cook"),
    }


def test_the_history_of_an_entity_is_in_order_and_once(root: Path) -> None:
    write(root, "text_history", {"entity_id": "j1", "position": "2", "text": "new"})
    write(root, "text_history", {"entity_id": "j1", "position": "1", "text": "old"})
    write(root, "text_history", {"entity_id": "j1", "position": "2", "text": "new"})  # a batch written twice
    write(root, "text_history", {"entity_id": "j2", "position": "3", "text": "other"})
    write(
        root,
        "embedding_history",
        {"entity_id": "j1", "position": "2", "input_hash": "h2", "available_at": minutes(2)},
        {"entity_id": "j1", "position": "1", "input_hash": "h1", "available_at": minutes(1)},
        {"entity_id": "j1", "position": "1", "input_hash": "g1", "model_version": "m2", "origin": "backfill"},
    )
    write(root, "embedding_current", pointer("j1", "h2", "2"))
    history = history_of(root, "job", "j1")
    assert history.texts["text"].to_pylist() == ["old", "new"]
    assert [(r["position"], r["input_hash"]) for r in history.pointers.to_pylist()] == [
        ("1", "h1"),
        ("1", "g1"),
        ("2", "h2"),
    ]
    assert history.current["input_hash"].to_pylist() == ["h2"]
    assert history_of(root, "job", "nobody").texts.num_rows == 0


def test_the_newest_row_of_an_alias_decides(root: Path) -> None:
    assert model_of_alias(root) is None
    write(root, "model_versions", {"model_version": "m1", "alias": "current"})
    write(root, "model_versions", {"model_version": "m2", "alias": "current", "valid_from": minutes(5)})
    write(root, "model_versions", {"model_version": "m1", "alias": "previous", "valid_from": minutes(5)})
    assert (model_of_alias(root), model_of_alias(root, "previous"), model_of_alias(root, "next")) == ("m2", "m1", None)


LEDGER = [
    {"writer_batch": 0, "events_in": 3, "changed": 3, "inferences": 3, "freshness": {1: 2}, "seconds": {"plan": 1.0}},
    {
        "writer_batch": 1,
        "events_in": 2,
        "stale": 2,
        "freshness": {1: 1, 9: 1},
        "seconds": {"plan": 2.0},
        "started_at": minutes(1),
    },
    {
        "writer_batch": 1,
        "events_in": 1,
        "deleted": 1,
        "entity_type": "member",
        "seconds": {"plan": 2.0},
        "started_at": minutes(1),
    },
]


def test_the_ledger_sums_over_batches_without_counting_twice(root: Path) -> None:
    write(root, "ledger", *LEDGER)
    write(root, "ledger", LEDGER[1])
    job, member = ledger_totals(root)
    assert (job.model_version, job.entity_type, job.batches, job.last_started_at) == ("m1", "job", 2, minutes(1))
    assert (job.counts.events_in, job.counts.inferences, job.counts.stale) == (5, 3, 2)
    assert job.freshness.counts == {1: 3, 9: 1}
    assert (member.entity_type, member.counts.events_in) == ("member", 1)


def test_the_last_batches_come_newest_first(root: Path) -> None:
    write(root, "ledger", *LEDGER)
    newest, oldest = last_batches(root, 5)
    assert (newest.writer_batch, newest.counts.events_in, newest.seconds) == (1, 3, {"plan": 2.0})
    assert (oldest.writer_batch, oldest.counts.events_in, oldest.freshness.counts) == (0, 3, {1: 2})
    assert [b.writer_batch for b in last_batches(root, 1)] == [1]


def test_quarantine_shows_what_no_later_attempt_closed(root: Path) -> None:
    def attempt(record: str, name: str, status: str, minute: int) -> dict[str, Any]:
        return {
            "quarantine_id": record,
            "attempt": name,
            "status": status,
            "quarantined_at": minutes(minute),
            "value": b"x",
        }

    write(
        root,
        "quarantine",
        attempt("t:0:1", "a", "open", 3),
        attempt("t:0:2", "a", "open", 1),
        attempt("t:0:3", "a", "open", 2),
    )
    write(root, "quarantine", attempt("t:0:2", "b", "open", 4), attempt("t:0:3", "b", "replayed", 4))
    found = open_quarantine(root)
    assert [(r["quarantine_id"], r["attempts"]) for r in found.to_pylist()] == [("t:0:1", 1), ("t:0:2", 2)]
    assert "value" not in found.column_names
    assert open_quarantine(root, with_records=True)["value"].to_pylist() == [b"x", b"x"]
