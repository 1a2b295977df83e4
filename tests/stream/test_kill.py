"""The real streaming process over the sample data is killed, or its disk fills up: nothing lost, nothing doubled."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from jude.settings import load_settings
from jude.tables.spec import TABLES
from tests.stream.reading import rows_of
from tests.stream.test_crashes import CLOCKS
from tests.stream.test_stream import stream

pytestmark = pytest.mark.long

ROOT = Path(__file__).parent.parent.parent
KILLS = int(os.environ.get("JUDE_TEST_KILLS", "2"))  # each costs a start of Spark; `make test-kills` makes it 10
SAMPLE_FILES = 3 if KILLS < 5 else 12  # every kill needs some batches of its own
ROWS_PER_BATCH = 150
GIVE_UP_SECONDS = 300


def overrides_of(folder: Path, source: Path) -> list[str]:
    places = {
        "source.path": source,
        "stream.checkpoint": folder / "checkpoint",
        "tables.root": folder / "tables",
        "online.path": folder / "online.sqlite",
        "source.max_offsets_per_trigger": ROWS_PER_BATCH,
        "log.level": "WARNING",
    }
    return [f"{key}={value}" for key, value in places.items()]


def start(folder: Path, source: Path) -> subprocess.Popen[bytes]:
    sets = [part for override in overrides_of(folder, source) for part in ("--set", override)]
    command = [sys.executable, "jobs/embed_stream.py", "--conf", "conf/test.yml", "--available-now", *sets]
    log = (folder.parent / f"{folder.name}.log").open("ab")
    return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)


def committed(folder: Path) -> int:
    """Commits of embedding_current: how far the stream has come."""
    log = folder / "tables" / "embedding_current" / "_delta_log"
    return len(list(log.glob("*.json"))) if log.exists() else 0


def kill_once_it_works(process: subprocess.Popen[bytes], folder: Path, wait_seconds: float) -> bool:
    """Kill at a random moment after the first new commit; False when the stream ended by itself."""
    began, before = time.monotonic(), committed(folder)
    while committed(folder) == before and process.poll() is None:
        if time.monotonic() - began > GIVE_UP_SECONDS:
            pytest.fail(log_of(folder))
        time.sleep(0.02)
    time.sleep(wait_seconds)
    if process.poll() is not None:
        return False
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return True


def finish(folder: Path, source: Path) -> None:
    process = start(folder, source)
    assert process.wait(GIVE_UP_SECONDS) == 0, log_of(folder)


def log_of(folder: Path) -> str:
    return (folder.parent / f"{folder.name}.log").read_text()[-3000:]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first files of the recorded sample."""
    folder = tmp_path_factory.mktemp("sample")
    for file in sorted((ROOT / "data" / "sample").glob("*.jsonl.gz"))[:SAMPLE_FILES]:
        shutil.copy(file, folder)
    return folder


@pytest.fixture(scope="module")
def whole(spark: SparkSession, sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run that nothing disturbed has made."""
    folder = tmp_path_factory.mktemp("whole")
    stream(spark, load_settings(ROOT / "conf" / "test.yml", overrides_of(folder, sample)))
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB, in memory."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "jude-test", str(disk)]
    if sys.platform != "linux" or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("no right to mount a small file system here")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.spark
@pytest.mark.timeout(1500)  # twelve starts of a JVM, on whatever machine this is
def test_kills_at_random_moments_leave_no_trace(tmp_path: Path, sample: Path, whole: Path):
    chance = random.Random(os.environ.get("JUDE_TEST_SEED", "7"))
    killed = tmp_path
    kills = 0
    for _ in range(KILLS):
        kills += kill_once_it_works(start(killed, sample), killed, chance.uniform(0, 0.8))
    finish(killed, sample)
    assert kills == KILLS, "the stream ended before it was killed often enough: lower max_offsets_per_trigger"
    assert_same_tables(killed, whole)
    check_once_each(killed)


@pytest.mark.spark
def test_a_full_disk_ends_the_job_with_a_sentence_and_the_next_start_goes_on(
    small_disk: Path, sample: Path, whole: Path
):
    process = start(small_disk, sample)
    assert process.wait(GIVE_UP_SECONDS) != 0, "1 MiB was enough: make the disk smaller"
    assert committed(small_disk) > 0, "the disk was full before anything happened"
    assert "no space left" in log_of(small_disk).lower()
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    finish(small_disk, sample)
    assert_same_tables(small_disk, whole)
    check_once_each(small_disk)


def assert_same_tables(folder: Path, whole: Path) -> None:
    for name in TABLES:
        assert comparable(folder, name) == comparable(whole, name), name


def comparable(folder: Path, table: str) -> list[dict[str, Any]]:
    """Rows without clocks and without the id of the query, which differs between two runs."""
    without = (*CLOCKS, "writer_query", "attempt", "inferences_repeated", "valid_from")
    return rows_of(folder / "tables", table, without=without)


def check_once_each(folder: Path) -> None:
    tables = folder / "tables"
    store, ledger = rows_of(tables, "embedding_store"), rows_of(tables, "ledger")
    assert max(Counter(row["input_hash"] for row in store).values()) == 1
    assert sum(row["inferences"] for row in ledger) == len(store)
    for row in ledger:
        fates = ("quarantined", "superseded", "stale", "unchanged", "deleted", "changed")
        assert row["events_in"] == sum(row[fate] for fate in fates)
    served = {
        (r["entity_type"], r["entity_id"], r["position"]): r["available_at"]
        for r in rows_of(tables, "embedding_history")
    }
    for row in rows_of(tables, "embedding_current"):
        if row["status"] == "deleted":
            assert served[row["entity_type"], row["entity_id"], row["position"]] == row["available_at"]
