"""kill -9 of the real streaming process at random moments over the sample data: nothing lost, nothing doubled."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from jude.tables.spec import TABLES
from tests.stream.reading import rows_of
from tests.stream.test_crashes import CLOCKS

ROOT = Path(__file__).parent.parent.parent
KILLS = int(os.environ.get("JUDE_TEST_KILLS", "3"))  # each costs a start of Spark; `make test-kills` makes it 10
GIVE_UP_SECONDS = 300


def start(folder: Path) -> subprocess.Popen[bytes]:
    overrides = {
        "stream.checkpoint": folder / "checkpoint",
        "tables.root": folder / "tables",
        "online.path": folder / "online.sqlite",
        "source.max_offsets_per_trigger": 150,
        "log.level": "WARNING",
    }
    sets = [argument for key, value in overrides.items() for argument in ("--set", f"{key}={value}")]
    command = [sys.executable, "jobs/embed_stream.py", "--conf", "conf/test.yml", "--available-now", *sets]
    log = (folder / "stream.log").open("ab")
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
            pytest.fail((folder / "stream.log").read_text()[-3000:])
        time.sleep(0.02)
    time.sleep(wait_seconds)
    if process.poll() is not None:
        return False
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return True


def finish(folder: Path) -> None:
    process = start(folder)
    assert process.wait(GIVE_UP_SECONDS) == 0, (folder / "stream.log").read_text()[-3000:]


@pytest.mark.spark
@pytest.mark.timeout(1500)  # twelve starts of a JVM, on whatever machine this is
def test_kills_at_random_moments_leave_no_trace(tmp_path: Path):
    chance = random.Random(os.environ.get("JUDE_TEST_SEED", "7"))
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    killed.mkdir(), whole.mkdir()
    kills = 0
    for _ in range(KILLS):
        kills += kill_once_it_works(start(killed), killed, chance.uniform(0, 0.8))
    finish(killed)
    finish(whole)
    assert kills == KILLS, "the stream ended before it was killed often enough: lower max_offsets_per_trigger"
    for name in TABLES:
        assert comparable(killed, name) == comparable(whole, name), name
    check_once_each(killed)


def comparable(folder: Path, table: str) -> list[dict[str, Any]]:
    """Rows without clocks and without the id of the query, which differs between two runs."""
    rows = rows_of(
        folder / "tables", table, without=(*CLOCKS, "writer_query", "attempt", "inferences_repeated", "valid_from")
    )
    return rows


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
