"""A folder has one process at a time."""

from __future__ import annotations

import errno
import fcntl
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from jude.errors import TerminalEnvironmentError
from jude.locking import LOCK_NAME, locked_folder


def locked(folder: Path) -> AbstractContextManager[None]:
    return locked_folder(folder, taken="held by {}".format, unwritable="cannot be written: {}".format)


def test_a_folder_is_held_by_one_and_free_afterwards(tmp_path: Path) -> None:
    with (
        locked(tmp_path / "new"),
        pytest.raises(TerminalEnvironmentError, match=r"held by \d+"),
        locked(tmp_path / "new"),
    ):
        pass
    with locked(tmp_path / "new"):
        pass


def test_who_only_asks_for_an_instant_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / LOCK_NAME).open("w") as asking:
        fcntl.flock(asking, fcntl.LOCK_EX)
        monkeypatch.setattr("jude.locking.time.sleep", lambda _: fcntl.flock(asking, fcntl.LOCK_UN))
        with locked(tmp_path):
            assert (tmp_path / LOCK_NAME).read_text().isdecimal()


def test_a_mounted_store_without_locks_is_used_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr("jude.locking.fcntl.flock", unsupported)
    with locked(tmp_path):
        pass


def test_what_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(TerminalEnvironmentError, match="cannot be written: Not a directory"),
        locked(tmp_path / "file" / "x"),
    ):
        pass
