"""Writers that really run at once: no update is lost, no row doubled."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from deltalake import DeltaTable

from jude.errors import CommitConflictError
from jude.tables.delta_log import DataFile
from jude.tables.native import NativeTables
from jude.tables.protocol import Tables
from tests.tables.conftest import BUCKETS
from tests.tables.rows import batch, known, pointer, pointers, text, texts

KEYS = [f"k{i}" for i in range(6)]

# Each process counts every key up by one per merge: a lost update would leave a key behind the sum of the counts.
COUNT_UP = """
import sys
from jude.tables.native import NativeTables
from tests.tables.test_concurrent_writers import append_texts, count_up
root, name, merges, link = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "True"
tables = NativeTables(root, buckets=4, link_commits=link)
append_texts(tables, name, merges)
print(count_up(tables, name, merges))
"""


def count_up(tables: Tables, name: str, merges: int) -> int:
    """Raise the position of all keys by one, `merges` times; returns how often another writer came between."""
    conflicts = 0
    done = 0
    while done < merges:
        state = known(tables, *KEYS, columns=("position",))
        rows = [pointer(k, f"{int(state.get(k, '0')) + 1:06d}") for k in KEYS]
        try:
            tables.merge_current(pointers(*rows), batch(done, name))
            done += 1
        except CommitConflictError:
            conflicts += 1
    return conflicts


def append_texts(tables: Tables, name: str, batches: int) -> None:
    for number in range(batches):
        tables.append("text_history", texts(text(name, f"{number:06d}")), batch(number, name))


@pytest.mark.parametrize("link_commits", [True, False], ids=["linked", "delta-rs"])
def test_three_processes_hammering_the_same_keys_lose_nothing(root: Path, link_commits: bool):
    merges, names = 12, ["a", "b", "c"]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", COUNT_UP, str(root), name, str(merges), str(link_commits)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        for name in names
    ]
    answers = [p.communicate(timeout=240) for p in processes]
    assert [p.returncode for p in processes] == [0, 0, 0], [error.decode()[-2000:] for _, error in answers]
    tables = NativeTables(root, buckets=BUCKETS)
    assert known(tables, *KEYS, columns=("position",)) == dict.fromkeys(KEYS, f"{merges * len(names):06d}")
    assert len(tables.live_keys("m1", "job")) == len(KEYS), "no key doubled by two first inserts"
    assert text_rows(root) == sorted((n, f"{i:06d}") for n in names for i in range(merges))


def text_rows(root: Path) -> list[tuple[str, str]]:
    from deltalake import DeltaTable

    rows = DeltaTable(root / "text_history").to_pyarrow_table(columns=["entity_id", "position"]).to_pylist()
    return sorted((r["entity_id"], r["position"]) for r in rows)


def test_threads_of_one_process_share_the_tables_safely(root: Path):
    tables = NativeTables(root, buckets=BUCKETS)
    threads = [threading.Thread(target=count_up, args=(tables, name, 10)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert known(tables, *KEYS, columns=("position",)) == dict.fromkeys(KEYS, "000020")


def test_the_same_batch_written_by_two_processes_at_once_is_there_once(root: Path):
    one, two = NativeTables(root, buckets=BUCKETS), NativeTables(root, buckets=BUCKETS)
    one.append("text_history", texts(text("j1", "p1")), batch(0))
    two.append("text_history", texts(text("j1", "p1")), batch(0))  # two looked before, but commits after
    rows = texts(*(text("j2", f"p{i}") for i in range(50)))
    threads = [threading.Thread(target=t.append, args=("text_history", rows, batch(1))) for t in (one, two)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(text_rows(root)) == 51


@pytest.mark.spark
def test_spark_and_native_count_the_same_keys_up_together(root: Path, spark):
    from jude.tables.spark_tables import SparkTables

    native = NativeTables(root, buckets=BUCKETS)
    other = threading.Thread(target=count_up, args=(native, "n", 20))
    other.start()
    count_up(SparkTables(spark, BUCKETS, root=str(root)), "s", 3)
    other.join()
    assert known(native, *KEYS, columns=("position",)) == dict.fromkeys(KEYS, "000023")
    assert len(native.live_keys("m1", "job")) == len(KEYS)


def test_every_commit_names_its_writer(root: Path):
    tables = NativeTables(root, buckets=BUCKETS)
    tables.append("text_history", texts(text("j1", "p1")), batch(5))
    newest = max((root / "text_history" / "_delta_log").glob("*.json"))
    actions = [json.loads(line) for line in newest.read_text().splitlines()]
    assert {"appId": "jude:stream:s1:text_history", "version": 5} in [a.get("txn") for a in actions]


def test_two_streams_that_bring_the_same_text_at_once_leave_it_once(root: Path) -> None:
    """Both have appended before: neither's next batch is taken for new where the other was faster."""
    one, two = NativeTables(root, buckets=BUCKETS), NativeTables(root, buckets=BUCKETS)
    for tables, stream, position in ((one, "s1", "p1"), (two, "s2", "p2")):
        tables.append("text_history", texts(text("j1", position)), batch(0, stream))
    for tables, stream in ((one, "s1"), (two, "s2")):
        tables.append("text_history", texts(text("j1", "p3")), batch(1, stream))
    rows = DeltaTable(root / "text_history").to_pyarrow_table()
    assert sorted(rows["position"].to_pylist()) == ["p1", "p2", "p3"]


def test_a_writer_remembers_the_files_that_are_there_and_no_others(root: Path) -> None:
    """A stream replaces a file per touched bucket in every batch: a million of them in three days."""

    def remembered() -> int:
        gc.collect()
        return sum(type(each) is DataFile for each in gc.get_objects())

    tables = NativeTables(root, buckets=BUCKETS)
    tables.merge_current(pointers(pointer("j1", "p00")), batch(0))
    before = remembered()
    for number in range(1, 40):
        tables.merge_current(pointers(pointer("j1", f"p{number:02d}")), batch(number))
    assert remembered() <= before
