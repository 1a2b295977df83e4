from __future__ import annotations

from dataclasses import asdict, fields
from datetime import UTC, datetime

import pytest

from jude.errors import BrokenLedgerError
from jude.observe import BatchCounts, Histogram, ledger_rows
from jude.tables.spec import LEDGER

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
PLACES = {"writer_query", "writer_batch", "model_version", "entity_type", "started_at", "seconds", "freshness"}


def jobs() -> BatchCounts:
    """Eleven events: one quarantined, two superseded, one stale, three unchanged, one deleted, three changed."""
    return BatchCounts(
        control=4,
        events_in=11,
        quarantined=1,
        superseded=2,
        stale=1,
        unchanged=3,
        unchanged_columns=2,
        unchanged_text=1,
        deleted=1,
        changed=3,
        duplicate_in_batch=1,
        already_stored=1,
        inferences=1,
        tokens=77,
    )


def test_the_counters_are_the_columns_of_the_ledger() -> None:
    assert {f.name for f in fields(BatchCounts)} == {c.name for c in LEDGER.columns} - PLACES


def test_counts_that_add_up_pass() -> None:
    jobs().check()
    BatchCounts().check()


@pytest.mark.parametrize(
    ("counter", "sentence"),
    [
        ("events_in", "events_in = 12, its parts give 11"),
        ("stale", "events_in = 11, its parts give 12"),
        ("inferences", "changed = 3, its parts give 4"),
        ("unchanged_text", "unchanged = 3, its parts give 4"),
    ],
)
def test_one_lost_event_breaks_the_ledger(counter: str, sentence: str) -> None:
    counts = jobs()
    setattr(counts, counter, getattr(counts, counter) + 1)
    with pytest.raises(BrokenLedgerError, match=sentence) as raised:
        counts.check()
    assert "'tokens': 77" in str(raised.value)


def test_a_part_is_not_more_than_its_whole() -> None:
    counts = jobs()
    counts.inferences_repeated = 2
    with pytest.raises(BrokenLedgerError, match="inferences_repeated > inferences"):
        counts.check()


def test_negative_counts_that_add_up_are_broken() -> None:
    with pytest.raises(BrokenLedgerError, match="stale is negative"):
        BatchCounts(stale=-1, superseded=1).check()


def test_counts_add() -> None:
    both = jobs() + jobs()
    assert asdict(both) == {name: 2 * count for name, count in asdict(jobs()).items()}
    assert both.skipped == 16


def test_one_row_per_entity_type_in_the_tables_schema() -> None:
    rows = ledger_rows(
        {"job": jobs(), "": BatchCounts(events_in=1, quarantined=1)},
        writer_query="q",
        writer_batch=7,
        model_version="m1",
        started_at=NOON,
        seconds={"plan": 0.25, "encode": 1.5},
        freshness={"job": Histogram({12: 2, 3: 1})},
    )
    assert rows.schema == LEDGER.schema
    unknown, job = rows.to_pylist()
    assert (unknown["entity_type"], unknown["quarantined"], unknown["freshness"]) == ("", 1, [])
    assert (job["entity_type"], job["events_in"], job["started_at"]) == ("job", 11, NOON)
    assert job["freshness"] == [(3, 1), (12, 2)]
    assert job["seconds"] == unknown["seconds"] == [("plan", 0.25), ("encode", 1.5)]


def test_a_broken_ledger_gives_no_rows() -> None:
    with pytest.raises(BrokenLedgerError):
        ledger_rows(
            {"job": BatchCounts(events_in=1)},
            writer_query="q",
            writer_batch=7,
            model_version="m1",
            started_at=NOON,
            seconds={},
            freshness={},
        )
