"""A stream is looked at, ended and started over from another process."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from jude.errors import TerminalEnvironmentError, TransientError
from jude.locking import LOCK_NAME
from jude.stream.controls import drain, holder, reset, state_of

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOLDER = """
    import signal, sys, time
    from jude.stream.checkpoint import locked
    ask = []
    signal.signal(signal.SIGTERM, lambda *_: ask.append(1))
    with locked(sys.argv[1]):
        print("held", flush=True)
        while not (ask and len(sys.argv) == 2):
            time.sleep(0.02)
"""


def hold(checkpoint: Path, *more: str) -> subprocess.Popen[str]:
    """A process that holds the checkpoint until SIGTERM; with one more word, for ever."""
    command = [sys.executable, "-c", textwrap.dedent(HOLDER), str(checkpoint), *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = hold(tmp_path / "checkpoint")
    yield process
    process.kill()
    process.wait()


def test_who_streams_is_known_as_long_as_it_lives(stream: subprocess.Popen[str], tmp_path: Path) -> None:
    assert holder(str(tmp_path / "checkpoint")) == stream.pid
    stream.kill()
    stream.wait()
    assert holder(str(tmp_path / "checkpoint")) is None
    assert holder(str(tmp_path / "never-used")) is None


def test_a_drain_waits_for_the_end(stream: subprocess.Popen[str], tmp_path: Path) -> None:
    assert drain(str(tmp_path / "checkpoint"), 10) == stream.pid
    assert stream.wait(5) == 0
    assert drain(str(tmp_path / "checkpoint"), 10) is None


def test_a_drain_of_a_process_that_just_ended_or_is_not_ours(
    stream: subprocess.Popen[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_another(pid: int, _: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    def too_late(pid: int, _: int) -> None:
        stream.terminate()
        stream.wait(5)
        raise ProcessLookupError(3, "No such process")

    checkpoint = str(tmp_path / "checkpoint")
    monkeypatch.setattr("jude.stream.controls.os", SimpleNamespace(**vars(os) | {"kill": of_another}))
    with pytest.raises(TerminalEnvironmentError, match="belongs to another user"):
        drain(checkpoint, 1)
    monkeypatch.setattr("jude.stream.controls.os", SimpleNamespace(**vars(os) | {"kill": too_late}))
    assert drain(checkpoint, 1) == stream.pid


def test_a_stream_that_just_starts_is_not_mistaken_for_our_own_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds the lock and has not written its pid yet: signal 15 to process 0 goes to everything that we started."""
    monkeypatch.setattr("os.kill", lambda pid, _: pytest.fail(f"{pid} was told to end"))
    with (tmp_path / LOCK_NAME).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(TransientError, match="just starts"):
            drain(str(tmp_path), 10)


def test_a_batch_that_takes_longer_is_told(tmp_path: Path) -> None:
    process = hold(tmp_path / "checkpoint", "for ever")
    try:
        with pytest.raises(TransientError, match="still works on its batch"):
            drain(str(tmp_path / "checkpoint"), 0.3)
    finally:
        process.kill()
        process.wait()


def test_a_reset_deletes_nothing_and_refuses_a_running_stream(stream: subprocess.Popen[str], tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    with pytest.raises(TerminalEnvironmentError, match="jude stream drain"):
        reset(str(checkpoint), NOON)
    stream.kill()
    stream.wait()
    (checkpoint / "offsets").mkdir()
    aside = reset(str(checkpoint), NOON)
    assert aside == tmp_path / "checkpoint-20260301T120000"
    assert (aside / "offsets").is_dir()
    assert not checkpoint.exists()
    assert reset(str(checkpoint), NOON) is None


def test_the_state_is_that_of_the_last_committed_batch(tmp_path: Path) -> None:
    for number in (8, 9, 10):
        for folder in ("offsets", "commits"):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / str(number)).write_text(f"v1\n{{}}\n{json.dumps({'t': {'0': number}})}")
    (tmp_path / "commits" / "10").unlink()
    state = state_of(str(tmp_path))
    assert (state.pid, state.last_batch, state.offsets) == (None, 9, {"t": {"0": 9}})


def test_a_checkpoint_on_an_object_store_is_its_schedulers(tmp_path: Path) -> None:
    with pytest.raises(TerminalEnvironmentError, match="object store"):
        state_of("s3://bucket/checkpoint")
