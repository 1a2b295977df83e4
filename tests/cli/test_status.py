"""`jude status`: what a deployment holds, how fresh it is, what it saved."""

from __future__ import annotations

import json
from pathlib import Path

from jude.changes.file_source import FileOffset
from tests.cli.deploying import Deployment, too_wide, words


def test_an_empty_deployment_says_what_fills_it(empty: Deployment):
    printed = words(empty.ask("status"))
    assert printed.startswith("Nothing here yet: ")
    assert "Run `jude stream run --available-now` on your changes, or `jude demo` on the sample." in printed
    assert empty.ask_json("status")["empty"] is True


def test_every_event_has_a_line_and_a_reason(small: Deployment):
    printed = small.ask("status")
    lines = [words(line) for line in printed.splitlines()]
    assert "what became of the events job member all" in lines
    assert "events 12 1 13" in lines
    assert "other columns changed 2 0 2" in lines
    assert "cosmetic edit 1 0 1" in lines
    assert "overtaken within its batch 1 0 1" in lines
    assert "same text twice in a batch 1 0 1" in lines
    assert "not newer than known 1 0 1" in lines
    assert "deleted 1 0 1" in lines
    assert "to quarantine 1 0 1" in lines
    assert "inferences 4 1 5" in lines
    assert "events without inference 67% 0% 62%" in lines
    assert "1 record in quarantine: `jude quarantine list`." in lines
    assert too_wide(printed) == []


def test_rows_and_freshness_per_entity_type(small: Deployment):
    status = small.ask_json("status")
    rows = {e["entity_type"]: (e["live"], e["deleted"], e["quarantine_open"]) for e in status["entities"]}
    assert rows == {"job": (3, 1, 1), "member": (1, 0, 0)}
    (job,) = (e for e in status["entities"] if e["entity_type"] == "job")
    assert job["counts"]["events_in"] == 12
    assert job["recent_freshness"]["p50_seconds"] > 1.0  # committed a second before the first look at the clock
    assert [b["writer_batch"] for b in status["batches"]] == [2, 1, 0]


def test_only_the_last_batches_count_as_recent(small: Deployment):
    status = small.ask_json("status", "--last", "1")
    assert [b["writer_batch"] for b in status["batches"]] == [2]
    assert {e["recent_freshness"]["p50_seconds"] for e in status["entities"]} == {None}  # it changed nothing


def test_the_source_says_what_is_not_read_yet(empty: Deployment):
    assert empty.ask_json("status")["source"] == "read to its end"
    for name in ("0001.jsonl", "0002.jsonl", "0003.jsonl.gz", ".unfinished.jsonl"):
        (empty.changes / name).touch()
    assert empty.ask_json("status")["source"] == "3 files not read yet"
    committed(empty.folder / "checkpoint", 0, FileOffset(frozenset({"0001.jsonl"})))
    committed(empty.folder / "checkpoint", 1, FileOffset(frozenset({"0001.jsonl"}), "0002.jsonl", 7))
    assert empty.ask_json("status")["source"] == "1 file not read yet, 0002.jsonl read up to line 7"


def committed(checkpoint: Path, batch: int, offset: FileOffset) -> None:
    """What Spark leaves of a committed batch."""
    for folder, text in (("offsets", f"v1\n{{}}\n{json.dumps(offset.to_json())}"), ("commits", "v1\n{}")):
        (checkpoint / folder).mkdir(parents=True, exist_ok=True)
        (checkpoint / folder / str(batch)).write_text(text)
