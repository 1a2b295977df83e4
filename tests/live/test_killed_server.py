"""kill -9 of the embedding server while Spark encodes a batch: it waits, and pays again for lists under way alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.stack.ports import free_ports
from jude.encoder.remote import _LISTS_AT_ONCE, _PASSES_PER_LIST
from jude.serving.child import serving
from jude.serving.client import EmbeddingClient, ServerAddress
from tests.recording import write_records
from tests.stories import job, records, upsert
from tests.stream.reading import rows_of

pytestmark = [pytest.mark.live, pytest.mark.spark, pytest.mark.timeout(300)]

PROJECT = Path(__file__).parents[2]
BATCH = 300  # texts, each with words of its own: seconds of MiniLM
MODEL = ("encoder.kind=all-minilm-l6-v2", "encoder.width=null")


def write_changes(folder: Path) -> None:
    """Two batches of jobs of about a hundred tokens, no two of which read the same."""
    folder.mkdir()
    rows = [
        upsert(f"j{n}", n + 1, job(f"Nurse {n}", " ".join(f"ward {n} shift {word}" for word in range(20))))
        for n in range(2 * BATCH)
    ]
    write_records(folder / "0001.jsonl", records(rows))


def start_stream(folder: Path, target: str, where: str) -> subprocess.Popen[bytes]:
    own = {
        "source.path": folder / "in", "stream.checkpoint": folder / "checkpoint", "tables.root": folder / "tables",
        "online.path": folder / "online.sqlite", "source.max_offsets_per_trigger": BATCH, "log.level": "WARNING",
        "encoder.kind": "grpc", "encoder.width": "null", "encoder.server.target": target, "encoder.where": where,
    }  # fmt: skip
    sets = [part for name, value in own.items() for part in ("--set", f"{name}={value}")]
    command = [sys.executable, "jobs/embed_stream.py", "--conf", "conf/test.yml", "--available-now", *sets]
    with (folder / "stream.log").open("wb") as log:
        return subprocess.Popen(command, cwd=PROJECT, stdout=log, stderr=log, start_new_session=True)


def texts_computed(metrics_port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith("jude_serving_texts_total"))


def until(holds: Callable[[], bool], seconds: float, log: Path) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, log.read_text(errors="replace")[-3000:]
        time.sleep(0.02)


@pytest.mark.parametrize(("where", "processes"), [("driver", 1), ("executors", 2)])
def test_the_batch_ends_right_after_the_restart_and_only_lists_under_way_are_paid_again(
    tmp_path: Path, where: str, processes: int
) -> None:
    write_changes(tmp_path / "in")
    log = tmp_path / "stream.log"
    port, metrics_port = free_ports(2)
    metrics = f"serving.metrics_port={metrics_port}"
    with serving(PROJECT / "conf/test.yml", (*MODEL, metrics), port=port) as first:
        pass_tokens = EmbeddingClient(ServerAddress(first.target)).info()[0].pass_tokens
        stream = start_stream(tmp_path, first.target, where)
        try:
            until(lambda: texts_computed(metrics_port) > BATCH * 4 // 3 or stream.poll() is not None, 120, log)
            paid_before = texts_computed(metrics_port)
            first.process.send_signal(signal.SIGKILL)
            first.process.wait()
            time.sleep(2.0)
            assert stream.poll() is None, log.read_text(errors="replace")[-3000:]  # it waits
            with serving(PROJECT / "conf/test.yml", (*MODEL, metrics), port=port):
                back = time.monotonic()
                until(lambda: len(rows_of(tmp_path / "tables", "ledger")) == 2, 60, log)
                seconds = time.monotonic() - back
                paid_after = texts_computed(metrics_port)
                assert stream.wait(60) == 0
        finally:
            if stream.poll() is None:
                os.killpg(stream.pid, signal.SIGKILL)

    print(f"\n{where}: {paid_before} texts before the kill, {paid_after} after it; the batch ended {seconds:.1f} s "
          "after the server was back")  # fmt: skip
    ledger, store = rows_of(tmp_path / "tables", "ledger"), rows_of(tmp_path / "tables", "embedding_store")
    assert [(row["inferences"], row["inferences_repeated"]) for row in ledger] == [(BATCH, 0), (BATCH, 0)]
    assert len({row["input_hash"] for row in store}) == len(store) == 2 * BATCH
    longest_list = _PASSES_PER_LIST * pass_tokens // 50  # every text has more tokens than that
    assert BATCH < paid_before < 2 * BATCH
    assert paid_before + paid_after <= 2 * BATCH + processes * _LISTS_AT_ONCE * longest_list
    assert seconds < 30
