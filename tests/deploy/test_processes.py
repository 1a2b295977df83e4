"""Processes are stopped only by those who started them."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from deploy.stack.processes import Command, Started, is_alive, start, stop
from deploy.stack.programs import MissingProgramError, check_reachable
from deploy.stack.services import COMMANDS
from deploy.stack.stack import Stack

NAP = "import time; time.sleep(60)"


def napping(folder: Path, code: str = NAP) -> Command:
    return Command([sys.executable, "-c", code], folder, folder / "log")


def sleeping(folder: Path, code: str = NAP) -> Started:
    return start(napping(folder, code))


def test_a_started_process_is_ours_until_it_ends(tmp_path: Path) -> None:
    process = sleeping(tmp_path)
    assert is_alive(process)
    stop(process)
    assert not is_alive(process)
    stop(process)  # again: nothing happens


def test_another_process_with_the_same_number_is_left_alone(tmp_path: Path) -> None:
    process = sleeping(tmp_path)
    stop(Started(process.pid, "Thu Jan  1 00:00:00 1970"))
    assert is_alive(process)
    stop(process)


def test_one_that_does_not_listen_is_killed_and_a_stopped_one_too(tmp_path: Path) -> None:
    deafness = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    deaf = sleeping(tmp_path, f"import signal, time; {deafness}; print(1, flush=True); time.sleep(60)")
    while not (tmp_path / "log").read_text():
        time.sleep(0.01)
    stop(deaf, wait_seconds=0.2)
    assert not is_alive(deaf)


def test_a_stack_that_was_never_up_is_down(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "stack", say=lambda line: None)
    assert set(stack.status()) == {"postgres", "kafka", "redis", "connect"}
    assert all(state.startswith("down") for state in stack.status().values())
    stack.down(remove=True)
    assert not (tmp_path / "stack").exists()


def test_nothing_is_started_where_a_program_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "postgres", lambda places: napping(tmp_path))
    monkeypatch.setitem(COMMANDS, "redis", lambda places: redis_is_missing())
    stack = Stack(tmp_path / "stack", say=lambda line: None)
    with pytest.raises(MissingProgramError, match="redis"):
        stack.up(["postgres", "redis"])
    assert not stack.is_up("postgres")


def redis_is_missing() -> Command:
    raise MissingProgramError("redis-server is not installed")


def test_a_folder_that_is_no_stack_is_never_removed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    Stack(tmp_path, say=lambda line: None).down(remove=True)
    assert (tmp_path / "mine").exists()


def test_a_folder_that_the_database_cannot_enter_is_told(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(MissingProgramError, match="JUDE_STACK"):
        check_reachable(closed / "postgres", "postgres")
    check_reachable(closed / "postgres", None)
