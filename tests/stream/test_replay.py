"""Quarantined records come back through the same path once their cause is mended, each at its own place in time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from jude.changes.position import parse_position
from jude.entities import Entities
from jude.entities.entity import Entity, TextField
from jude.online.sqlite import SqliteStore
from jude.stream.pipeline import Pipeline
from jude.stream.replay import Replayed, dismiss_quarantine, replay_quarantine
from jude.tables.native import NativeTables
from jude.tables.reading import open_quarantine
from tests.stories import NOW, PLACEHOLDER, delete, entities, envelope, job, record, tombstone, upsert
from tests.stream.making import make_pipeline
from tests.stream.reading import rows_of
from tests.stream.test_bad_input import apply, check_ledger, live_texts, text_of

LONG = "Bakes " + "very " * 50 + "much."
LONGER = "Bakes " + "very " * 60 + "much."


def with_limit(max_text_bytes: int) -> Entities:
    """The entities of conf/, jobs limited to short texts."""
    return Entities([replace(e, max_text_bytes=max_text_bytes) if e.name == "job" else e for e in entities().values()])


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[Pipeline]:
    """Delta tables and SQLite in a folder; jobs may have 200 characters."""
    tables, ticks = NativeTables(tmp_path, buckets=2), itertools.count()
    tables.ensure()
    online = SqliteStore(tmp_path / "online.sqlite")

    def clock() -> datetime:
        return NOW + timedelta(seconds=next(ticks))

    yield make_pipeline(tables, online, clock, entities=with_limit(200))
    online.close()


def mended(pipeline: Pipeline) -> Pipeline:
    return replace(pipeline, entities=with_limit(100_000))


def replay(pipeline: Pipeline, root: Path, replay_id: str = "r1") -> Replayed:
    return replay_quarantine(open_quarantine(root, with_records=True), pipeline, replay_id)


def still_open(root: Path) -> list[tuple[str, str, int]]:
    return sorted((r["entity_id"] or "", r["error_class"], r["attempts"]) for r in open_quarantine(root).to_pylist())


def texts(root: Path) -> list[tuple[str, int, str | None]]:
    rows = rows_of(root, "text_history")
    return sorted((r["entity_id"], parse_position(r["position"]).lsn, r["text"]) for r in rows)


def test_a_text_past_the_limit_is_applied_once_the_limit_is_raised(pipeline: Pipeline, tmp_path: Path):
    apply(pipeline, [upsert("j1", 10, job("Baker")), upsert("j2", 11, job("Cook"))])
    apply(pipeline, [upsert("j1", 20, job("Baker", LONG)), upsert("j2", 21, job("Cook II"))], 1)
    assert still_open(tmp_path) == [("j1", "text_too_large", 1)]
    assert replay(pipeline, tmp_path, "too early") == Replayed(closed=0, still_open=1)
    assert still_open(tmp_path) == [("j1", "text_too_large", 2)]

    assert replay(mended(pipeline), tmp_path) == Replayed(closed=1, still_open=0)
    assert live_texts(tmp_path) == {"j1": text_of("Baker", LONG), "j2": text_of("Cook II")}
    assert still_open(tmp_path) == []
    check_ledger(tmp_path, 6)  # two batches of two, two replays of one

    before = rows_of(tmp_path, "embedding_current"), rows_of(tmp_path, "text_history")
    assert replay(mended(pipeline), tmp_path, "nothing is open") == Replayed(0, 0)
    apply(mended(pipeline), [upsert("j1", 20, job("Baker", LONG))], 2)  # the connector sends it again
    assert (rows_of(tmp_path, "embedding_current"), rows_of(tmp_path, "text_history")) == before


def test_a_replay_leaves_the_note_of_a_running_stream_alone(pipeline: Pipeline, tmp_path: Path):
    """Two processes that write one note took each other's unfinished file away."""
    note = tmp_path / "jude.attempt"
    streaming = replace(pipeline, attempts_file=note)
    apply(streaming, [upsert("j1", 10, job("Baker")), upsert("j2", 20, job("Cook", LONG))])
    before = note.read_bytes()
    assert replay(mended(streaming), tmp_path) == Replayed(closed=1, still_open=0)
    assert note.read_bytes() == before


def test_records_of_a_topic_wait_for_their_entity(pipeline: Pipeline, tmp_path: Path):
    topic = "jude.public.companies"
    company = {"name": "Artefactual", "description": "Archives."}
    apply(
        pipeline,
        [upsert("c1", 10, company, topic=topic), delete("c2", 11, topic=topic), tombstone("c2", 12, topic=topic)],
    )
    assert still_open(tmp_path) == [("", "unknown_topic", 1)] * 3

    fields = (TextField("name", "Name"), TextField("description"))
    added = Entity("company", topic, "id", fields, title_field="name")
    knowing = replace(pipeline, entities=Entities([*pipeline.entities.values(), added]))
    assert replay(knowing, tmp_path) == Replayed(closed=3, still_open=0)
    assert live_texts(tmp_path) == {"c1": "Name: Artefactual\nArchives."}
    status = {(r["entity_type"], r["entity_id"]): r["status"] for r in rows_of(tmp_path, "embedding_current")}
    assert status == {("company", "c1"): "live", ("company", "c2"): "deleted"}


def test_a_text_that_the_database_left_out_is_restored_once_the_earlier_change_arrived(
    pipeline: Pipeline, tmp_path: Path
):
    apply(pipeline, [upsert("j1", 20, job("Baker II", PLACEHOLDER))])
    assert still_open(tmp_path) == [("j1", "text_unavailable", 1)]
    apply(pipeline, [upsert("j1", 10, job("Baker", "Bakes."))], 1)  # another partition, another pace
    assert replay(pipeline, tmp_path) == Replayed(closed=1, still_open=0)
    assert live_texts(tmp_path) == {"j1": text_of("Baker II", "Bakes.")}


def test_a_whole_row_that_came_later_closes_what_could_not_be_restored(pipeline: Pipeline, tmp_path: Path):
    """An operator asks Debezium for an incremental snapshot of the table: that is the way out."""
    apply(pipeline, [upsert("j1", 20, job("Baker II", PLACEHOLDER))])
    apply(pipeline, [upsert("j1", 30, job("Baker II", "Bakes."), op="r")], 1)
    assert replay(pipeline, tmp_path) == Replayed(closed=1, still_open=0)
    assert live_texts(tmp_path) == {"j1": text_of("Baker II", "Bakes.")}
    assert [lsn for _, lsn, _ in texts(tmp_path)] == [30]


def test_records_of_one_key_are_replayed_in_their_own_order(pipeline: Pipeline, tmp_path: Path):
    apply(pipeline, [upsert("j1", 10, job("Baker")), upsert("j1", 20, job("Baker", LONG))])
    apply(pipeline, [upsert("j1", 25, job("Baker", LONGER)), upsert("j1", 28, job("Chef", PLACEHOLDER))], 1)
    rows = open_quarantine(tmp_path, with_records=True).sort_by([("offset", "descending")])
    assert rows["offset"].to_pylist() == [28, 25, 20]
    assert replay_quarantine(rows, mended(pipeline), "r1") == Replayed(closed=3, still_open=0)
    assert texts(tmp_path) == [
        ("j1", 10, text_of("Baker")),
        ("j1", 20, text_of("Baker", LONG)),
        ("j1", 25, text_of("Baker", LONGER)),
        ("j1", 28, text_of("Chef", LONGER)),
    ]
    assert live_texts(tmp_path) == {"j1": text_of("Chef", LONGER)}


def test_a_replay_never_overwrites_what_is_newer(pipeline: Pipeline, tmp_path: Path):
    """j1 was changed since, j2 was deleted since, j3 gets its text and a stale change after it."""
    too_long = [upsert(key, 20, job("Baker", LONG), offset=20 + n) for n, key in enumerate(("j1", "j2", "j3"))]
    apply(pipeline, [upsert("j2", 10, job("Cook")), *too_long])
    apply(pipeline, [upsert("j1", 30, job("Driver")), delete("j2", 31)], 1)
    assert replay(mended(pipeline), tmp_path) == Replayed(closed=3, still_open=0)
    apply(pipeline, [upsert("j3", 15, job("Old"))], 2)
    assert live_texts(tmp_path) == {"j1": text_of("Driver"), "j3": text_of("Baker", LONG)}
    served = pipeline.online.get_many(pipeline.model_version, "job", ["j1", "j2", "j3"])
    assert [vector is not None for vector in served] == [True, False, True]


def test_a_record_keeps_the_epoch_under_which_it_was_read(pipeline: Pipeline, tmp_path: Path):
    """j1 waits since before the failover, j2 since after it; today's epoch is a third one."""
    apply(replace(pipeline, source_epoch=1), [upsert("j1", 900, job("Baker", LONG)), upsert("j3", 901, job("Nurse"))])
    apply(replace(pipeline, source_epoch=2), [upsert("j2", 5, job("Cook", LONG)), upsert("j1", 6, job("Driver"))], 1)
    assert replay(replace(mended(pipeline), source_epoch=3), tmp_path) == Replayed(closed=2, still_open=0)
    epochs = {
        r["entity_id"]: parse_position(r["position"]).source_epoch for r in rows_of(tmp_path, "embedding_current")
    }
    assert epochs == {"j1": 2, "j2": 2, "j3": 1}
    assert live_texts(tmp_path)["j1"] == text_of("Driver")


def test_what_no_setting_can_mend_stays_open_beside_what_is_mended(pipeline: Pipeline, tmp_path: Path):
    broken = record({"id": "j9"}, b"{broken", offset=5)
    apply(pipeline, [broken, upsert("j1", 10, job("Baker", LONG)), record(None, envelope("u", {}, 1), offset=6)])
    assert replay(mended(pipeline), tmp_path) == Replayed(closed=1, still_open=2)
    assert still_open(tmp_path) == [("", "no_key", 2), ("j9", "not_json", 2)]


def test_a_replay_that_died_before_it_could_say_so_is_closed_by_the_next(pipeline: Pipeline, tmp_path: Path):
    apply(pipeline, [upsert("j1", 10, job("Baker", LONG))])

    def die(step: str) -> None:
        if step == "current":
            raise InterruptedError

    with pytest.raises(InterruptedError):
        replay(replace(mended(pipeline), after=die), tmp_path)
    assert live_texts(tmp_path) == {"j1": text_of("Baker", LONG)}
    before = rows_of(tmp_path, "embedding_history"), rows_of(tmp_path, "text_history")
    assert replay(mended(pipeline), tmp_path, "r2") == Replayed(closed=1, still_open=0)
    assert (rows_of(tmp_path, "embedding_history"), rows_of(tmp_path, "text_history")) == before
    assert still_open(tmp_path) == []


def dismiss(pipeline: Pipeline, root: Path, dismissal_id: str = "d1") -> None:
    rows = open_quarantine(root, with_records=True)
    dismiss_quarantine(rows, pipeline.tables, dismissal_id, pipeline.clock(), "the producer was broken")


def test_what_is_dismissed_stays_a_gap_and_is_open_again_once_it_is_read_again(pipeline: Pipeline, tmp_path: Path):
    broken = record({"id": "j1"}, b"{broken", offset=15)
    apply(pipeline, [upsert("j1", 10, job("Baker", "Bakes.")), broken])
    dismiss(pipeline, tmp_path)
    assert still_open(tmp_path) == []
    apply(pipeline, [upsert("j1", 20, job("Cook", PLACEHOLDER)), broken], 1, query="a new checkpoint")
    assert still_open(tmp_path) == [("j1", "not_json", 3), ("j1", "text_unavailable", 1)]


def test_a_topic_made_anew_hides_no_record_of_the_old_one(pipeline: Pipeline, tmp_path: Path):
    """Offsets begin again: under a raised epoch, or with later records of the same one."""
    first = record({"id": "j1"}, b"{broken", offset=5)
    later = [upsert("j2", 50, job("Cook", LONG), offset=5) | {"timestamp": NOW + timedelta(days=day)} for day in (1, 2)]
    apply(pipeline, [first])
    apply(replace(pipeline, source_epoch=1), later[:1], query="q2")
    apply(replace(pipeline, source_epoch=1), later[1:], query="q3")
    assert [r["quarantine_id"] for r in open_quarantine(tmp_path).to_pylist()] == ["jude.public.jobs:0:5"] * 3

    assert replay(mended(pipeline), tmp_path) == Replayed(closed=2, still_open=1)
    assert still_open(tmp_path) == [("j1", "not_json", 2)]
