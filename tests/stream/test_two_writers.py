"""Two streams on the same tables at once, with conflicts provoked: the tables are those of one stream."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from jude.errors import CommitConflictError
from jude.online.sqlite import SqliteStore
from jude.stream.micro_batch import Applied, apply_batch
from jude.stream.planned import plan_on_driver
from jude.tables.native import NativeTables
from jude.tables.protocol import Txn
from tests.stories import PLACEHOLDER, Record, delete, job, record, records, tombstone, upsert
from tests.stream.making import make_pipeline
from tests.stream.reading import rows_of
from tests.stream.test_crashes import CLOCKS

BATCHES: list[list[Record]] = [
    [upsert(f"j{n}", 100 * batch + n, job(f"Title {n % 3}", f"Text {batch // 2}")) for n in range(6)]
    for batch in range(1, 7)
] + [[delete("j1", 900), tombstone("j1", 901)]]


def stream(folder: Path, query: str, together: threading.Barrier, failures: list[BaseException]) -> None:
    tables, online = NativeTables(folder / "tables", buckets=2), SqliteStore(folder / "online.sqlite")

    def meet(step: str) -> None:
        if step == "plan":
            together.wait(timeout=60)  # both have planned on the same state: one of them must plan again

    pipeline = make_pipeline(tables, online, commit_attempts=50)
    try:
        for number, rows in enumerate(BATCHES):
            batch = records(rows)
            first = iter([meet])
            once = make_pipeline(
                tables, online, commit_attempts=50, after=lambda step, f=first: next(f, lambda s: None)(step)
            )
            apply_batch(partial(plan_on_driver, batch, pipeline), once, Txn("stream", query, number))
    except BaseException as error:
        failures.append(error)
        together.abort()
    finally:
        online.close()


def test_two_streams_on_the_same_tables_give_the_tables_of_one(tmp_path: Path):
    alone, both = tmp_path / "alone", tmp_path / "both"
    for folder, queries in ((alone, ["q1"]), (both, ["q1", "q2"])):
        NativeTables(folder / "tables", buckets=2).ensure()
        together, failures = threading.Barrier(len(queries)), list[BaseException]()
        threads = [threading.Thread(target=stream, args=(folder, q, together, failures)) for q in queries]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
    for name in ("text_history", "embedding_current"):
        assert distinct(both, name) == distinct(alone, name), name
    assert hashes(both) == hashes(alone)


def test_a_conflict_that_never_ends_fails_the_batch_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tables = NativeTables(tmp_path / "tables", buckets=2)
    tables.ensure()

    def conflict(rows: object, txn: Txn) -> None:
        raise CommitConflictError("another writer was faster")

    monkeypatch.setattr(tables, "merge_current", conflict)
    pauses: list[float] = []
    online = SqliteStore(tmp_path / "online.sqlite")
    pipeline = make_pipeline(tables, online, commit_attempts=3, pause=pauses.append)
    batch = records(BATCHES[0])
    with pytest.raises(CommitConflictError):
        apply_batch(lambda: plan_on_driver(batch, pipeline), pipeline, Txn("stream", "q1", 0))
    assert len(pauses) == 2
    assert rows_of(tmp_path / "tables", "ledger") == []


def test_the_ledger_counts_by_the_plan_that_was_committed(tmp_path: Path):
    batch = records([upsert("j1", 10, job("Baker")), upsert("j2", 11, job("Cook"))])
    faster = records([upsert("j1", 10, job("Baker"))])
    applied = overtaken(tmp_path, batch, by=faster)
    [row] = [row for row in rows_of(tmp_path / "tables", "ledger") if row["writer_query"] == "q1"]
    assert (row["events_in"], row["stale"], row["changed"]) == (2, 1, 1)
    assert applied.counts["job"].stale == 1


def overtaken(folder: Path, batch: pa.Table, *, by: pa.Table) -> Applied:
    """Apply a batch, between whose plan and commit another stream commits."""
    tables, theirs = (NativeTables(folder / "tables", buckets=2) for _ in range(2))
    tables.ensure()
    online = SqliteStore(folder / "online.sqlite")
    other = make_pipeline(theirs, online)

    def overtake(step: str) -> None:
        if step == "plan" and not rows_of(folder / "tables", "embedding_current"):
            apply_batch(lambda: plan_on_driver(by, other), other, Txn("stream", "q2", 0))

    mine = make_pipeline(tables, online, after=overtake)
    return apply_batch(lambda: plan_on_driver(batch, mine), mine, Txn("stream", "q1", 0))


def distinct(folder: Path, table: str) -> set[str]:
    return {str(row) for row in rows_of(folder / "tables", table, without=(*CLOCKS, "writer_query", "writer_batch"))}


def hashes(folder: Path) -> set[str]:
    return {row["input_hash"] for row in rows_of(folder / "tables", "embedding_store")}


def test_quarantine_tells_of_the_plan_that_was_committed(tmp_path: Path):
    """What the first plan could not restore, the second can: the other stream has brought the earlier text."""
    broken = record({"id": "j9"}, b"{broken", offset=30)
    batch = records([upsert("j1", 20, job("Chef", PLACEHOLDER)), upsert("j2", 21, job("Cook")), broken])
    faster = records([upsert("j1", 10, job("Baker")), upsert("j2", 11, job("Cook"))])
    applied = overtaken(tmp_path, batch, by=faster)
    assert applied.counts["job"].changed == 1
    [row] = rows_of(tmp_path / "tables", "quarantine")
    assert (row["entity_id"], row["error_class"]) == ("j9", "not_json")
