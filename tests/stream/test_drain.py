"""Stopping, and not starting: the job as a process of its own, as a scheduler or a person runs it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from jude.environment import java_home
from jude.errors import JudeError
from jude.settings import load_settings
from jude.stream.checkpoint import locked
from jude.stream.opening import open_pipeline
from tests.stories import CONF
from tests.stream.reading import rows_of
from tests.stream.test_bad_input import check_ledger

pytestmark = pytest.mark.long

ROOT = CONF.parent
JOB = [sys.executable, "jobs/embed_stream.py"]
SUBMIT = [str(Path(sys.executable).with_name("spark-submit")), "--driver-memory", "1g", "jobs/embed_stream.py"]
RECORDS, CONTROL = 228, 0  # of the file below
GIVE_UP_SECONDS = 400


@dataclass
class Job:
    """The streaming job over the sample's first file, in a folder."""

    folder: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, command: list[str], **overrides: object) -> subprocess.Popen[bytes]:
        chosen = {
            "source.path": self.folder / "in",
            "stream.checkpoint": self.folder / "checkpoint",
            "tables.root": self.folder / "tables",
            "online.path": self.folder / "online.sqlite",
            "stream.trigger": "processing_time",
            **{name.replace("__", "."): value for name, value in overrides.items()},
        }
        sets = [argument for key, value in chosen.items() for argument in ("--set", f"{key}={value}")]
        env = {**os.environ, "JAVA_HOME": str(java_home()), "PYSPARK_PYTHON": sys.executable}
        log = (self.folder / "job.log").open("ab")
        process = subprocess.Popen(
            [*command, "--conf", "conf/test.yml", *sets], cwd=ROOT, env=env, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        self.processes.append(process)
        return process

    @property
    def log(self) -> str:
        return (self.folder / "job.log").read_text()

    def wait_until(self, reached: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + GIVE_UP_SECONDS
        while not reached():
            assert process.poll() is None, f"the job ended with {process.returncode}:\n{self.log[-3000:]}"
            assert time.monotonic() < end, f"the job came nowhere:\n{self.log[-3000:]}"
            time.sleep(0.2)

    def ends(self, process: subprocess.Popen[bytes]) -> int:
        try:
            return process.wait(GIVE_UP_SECONDS)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the job did not end:\n{self.log[-3000:]}")

    def commits(self) -> int:
        """Commits of embedding_current."""
        return len(list((self.folder / "tables" / "embedding_current" / "_delta_log").glob("*.json")))

    def batches(self) -> list[int]:
        """The batches that the ledger holds."""
        return sorted({row["writer_batch"] for row in rows_of(self.folder / "tables", "ledger")})

    def finished(self) -> list[int]:
        """The batches that Spark knows to be finished."""
        return sorted(int(p.name) for p in (self.folder / "checkpoint" / "commits").iterdir() if p.name.isdigit())

    def all_read(self) -> bool:
        return sum(row["events_in"] for row in rows_of(self.folder / "tables", "ledger")) == RECORDS - CONTROL


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Job]:
    (tmp_path / "in").mkdir()
    shutil.copy(ROOT / "data" / "sample" / "0001-snapshot.jsonl.gz", tmp_path / "in")
    made = Job(tmp_path)
    yield made
    for process in made.processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def stops_between_two_batches(running: Job, command: list[str]) -> None:
    stream = running.start(command, source__max_offsets_per_trigger=20)
    running.wait_until(lambda: running.commits() > 2, stream)
    stream.send_signal(signal.SIGTERM)
    assert running.ends(stream) == 0, running.log[-3000:]
    assert "Traceback" not in running.log
    assert running.batches() == running.finished()
    assert not running.all_read(), "the stream was done before it was asked to stop"


@pytest.mark.spark
@pytest.mark.timeout(1500)
def test_sigterm_finishes_the_batch_and_a_restart_goes_on(running: Job):
    stops_between_two_batches(running, JOB)

    before = len(running.finished())
    stream = running.start(JOB, source__max_offsets_per_trigger=300)
    running.wait_until(running.all_read, stream)  # now it has nothing to do, and waits
    stream.send_signal(signal.SIGTERM)
    assert running.ends(stream) == 0, running.log[-3000:]
    assert "Traceback" not in running.log
    assert running.batches() == running.finished() == list(range(len(running.finished())))
    assert len(running.finished()) > before
    check_ledger(running.folder / "tables", RECORDS - CONTROL)


@pytest.mark.spark
@pytest.mark.timeout(900)
def test_sigterm_to_spark_submit_finishes_the_batch(running: Job):
    """There the JVM is the process that a scheduler knows; Python is its child."""
    stops_between_two_batches(running, SUBMIT)


@pytest.mark.timeout(600)
def test_a_second_process_on_the_same_checkpoint_is_refused(running: Job):
    with locked(str(running.folder / "checkpoint")):
        second = running.start(JOB)
        assert running.ends(second) == 1
    assert f"Process {os.getpid()} already streams from the checkpoint {running.folder}/checkpoint." in running.log
    assert "stream.checkpoint" in running.log
    assert "Traceback" not in running.log


@pytest.mark.timeout(600)
def test_a_checkpoint_that_cannot_be_written_is_a_sentence(running: Job):
    (running.folder / "file").write_text("not a folder")
    assert running.ends(running.start(JOB, stream__checkpoint=running.folder / "file" / "checkpoint")) == 1
    assert f"The checkpoint folder {running.folder}/file/checkpoint cannot be written" in running.log
    assert "Traceback" not in running.log


@pytest.mark.parametrize("place", ["tables.root", "online.path"])
def test_tables_or_a_store_that_cannot_be_written_are_a_sentence(place: str, tmp_path: Path):
    (tmp_path / "file").write_text("not a folder")
    places = {"tables.root": tmp_path / "tables", "online.path": tmp_path / "online.sqlite", place: tmp_path / "file/x"}
    settings = load_settings(CONF / "test.yml", [f"{name}={path}" for name, path in places.items()])
    with pytest.raises(JudeError, match=r"file"):
        open_pipeline(settings)
