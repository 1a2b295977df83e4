"""The savings benchmark on streams of a few records: its counts, and that a false skip does not get past it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import savings
from benchmarks.changes.recomputation import SlowTexts
from benchmarks.changes.streams import STREAMS, Record, Stream, entities
from benchmarks.savings import Judge, Savings, main, replay
from jude.encoder import EncoderSpec, open_tokeniser
from scripts.debezium_recorder import PLACEHOLDER, Recorder
from scripts.row_changes import INTERNSHIPS, Change, Op, Transaction

INTERNSHIP_STREAM = next(stream for stream in STREAMS if stream.name == "internships")
AT_MS = 1_690_000_000_000


def row(key: str, title: str, *locations: str, active: bool = True) -> dict[str, Any]:
    return INTERNSHIPS.row(id=key, title=title, company_name="ACME", locations=list(locations), active=active)


def stream_of(*changes: tuple[Op, str, dict[str, Any] | None]) -> list[Record]:
    """Records of one transaction per change: (op, key, row)."""
    history = [Transaction(AT_MS + i, (Change(INTERNSHIPS, *change),)) for i, change in enumerate(changes)]
    return list(Recorder(7).stream(history))


STORY = stream_of(
    ("insert", "a", row("a", "Intern", "Oslo", "Rome")),
    ("update", "a", row("a", "Intern", "Oslo", "Rome", active=False)),  # another column
    ("update", "a", row("a", "Intern", "Rome", "Oslo")),  # another order of a set
    ("update", "a", row("a", "Intern &amp; more", "Oslo", "Rome")),  # a text change
    ("update", "a", row("a", "Intern & more", "Oslo", "Rome")),  # markup only
    ("insert", "b", row("b", "Intern", "Oslo", "Rome")),  # the text that a once had
    ("delete", "a", None),
    ("insert", "a", row("a", "Intern & more", "Oslo", "Rome")),  # back, with a stored text
)


@pytest.mark.parametrize("batch_rows", [1, 3, 1000])
def test_counts_are_those_of_one_event_at_a_time_whatever_the_batches(tmp_path: Path, batch_rows: int):
    found = replay(INTERNSHIP_STREAM, STORY, entities(), tmp_path, batch_rows=batch_rows)
    keys = found.as_keys("s")
    assert {name: keys[f"s.{name}"] for name in ("upserts", "inferences", "false_skips")} == {
        "upserts": 7, "inferences": 2, "false_skips": 0,
    }  # fmt: skip
    assert (found.columns, found.text, found.markup_skips) == (1, 2, 1)
    assert (keys["s.saved_columns"], keys["s.saved_store"]) == (round(7 / 6, 2), 3.5)


def test_one_record_at_a_time_pays_what_is_counted_and_larger_batches_never_more(tmp_path: Path):
    paid = {}
    for batch_rows in (1, 1000):
        found = replay(INTERNSHIP_STREAM, STORY, entities(), tmp_path / str(batch_rows), batch_rows=batch_rows)
        paid[batch_rows] = (found.paid, len(found.whole.distinct))
    assert paid[1] == (2, 2)
    assert paid[1000][0] <= paid[1000][1] == 2


def decision(record: int, reason: str, level: str | None = None, input_hash: str | None = None) -> dict[str, Any]:
    return {"record": record, "reason": reason, "level": level, "input_hash": input_hash}


def judged(records: list[Record], decisions: list[dict[str, Any]], stream: Stream = INTERNSHIP_STREAM) -> Savings:
    found = Savings(savings.Inputs(open_tokeniser(EncoderSpec("hashing"))), None)
    Judge(stream).judge(decisions, records, found)
    return found


@pytest.mark.parametrize("level", ["columns", "text"])
def test_a_planted_false_skip_is_found(level: str):
    records = stream_of(("insert", "a", row("a", "Intern", "Oslo")), ("update", "a", row("a", "Manager", "Oslo")))
    found = judged(records, [decision(0, "changed", None, "h1"), decision(1, "unchanged", level)])
    assert found.false_skips == 1
    assert found.examples == [f"FALSE: a, offset {records[1]['offset']}, 'Intern' -> 'Manager'"]


def test_a_vector_of_another_text_is_a_false_skip():
    records = stream_of(("insert", "a", row("a", "Intern")), ("insert", "b", row("b", "Manager")))
    assert judged(records, [decision(0, "changed", None, "h1"), decision(1, "changed", None, "h1")]).false_skips == 1


def test_a_key_that_comes_back_must_not_be_skipped():
    back = row("a", "Intern", "Oslo")
    records = stream_of(("insert", "a", back), ("delete", "a", None), ("insert", "a", back))
    decisions = [decision(0, "changed", None, "h1"), decision(1, "deleted"), decision(3, "unchanged", "columns")]
    assert judged(records, decisions).false_skips == 1


def test_a_planted_false_skip_is_found_through_the_whole_replay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("jude.planning.fold.text_hash", lambda entity, text: "all the same")
    records = stream_of(("insert", "a", row("a", "Intern")), ("update", "a", row("a", "Manager")))
    assert replay(INTERNSHIP_STREAM, records, entities(), tmp_path).false_skips == 1


def test_the_slow_reading_restores_what_was_not_sent_also_across_a_key_change():
    after = {"id": "a", "text": "Long."}
    slow = SlowTexts(("text",))
    slow.follow({"key": {"id": "a"}, "headers": {}, "value": {"op": "c", "after": after}})
    seen = slow.follow(
        {"key": {"id": "a"}, "headers": {}, "value": {"op": "u", "after": {**after, "text": PLACEHOLDER}}}
    )
    assert seen is not None
    assert (seen.text, seen.differs) == (("Long.",), False)
    slow.follow({"key": {"id": "a"}, "headers": {}, "value": {"op": "d"}})
    headers = {"__debezium.oldkey": '{"id": "a"}'}
    moved = slow.follow(
        {"key": {"id": "b"}, "headers": headers, "value": {"op": "c", "after": {**after, "text": PLACEHOLDER}}}
    )
    assert moved is not None
    assert (moved.text, moved.before) == (("Long.",), None)


def test_absent_streams_are_skipped_with_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    main(["--shared", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines if "skipped, " in line] == [s.name for s in STREAMS]
    assert lines[-1] == "{}"
