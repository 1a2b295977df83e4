"""What is special to the SQLite file: locks, damage, foreign files, starting together."""

from __future__ import annotations

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jude.errors import TerminalError, TerminalSettingsError, TransientOnlineError
from jude.online import Put, PutStatus, SqliteStore, open_online

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def put(entity_id: str, position: str = "1") -> Put:
    return Put("m1", "job", entity_id, position, b"\x00\x00\x80\x3f", "float32", 1)


def test_vectors_survive_closing(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "new" / "folder" / "online.db")
    store.put_many([put("j1")], NOON)
    store.flip("current", "m1")
    store.close()
    again = SqliteStore(tmp_path / "new" / "folder" / "online.db")
    assert again.get_many("m1", "job", ["j1"])[0] is not None
    assert again.resolve("current") == "m1"
    again.close()


def test_a_locked_store_is_tried_again(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "online.db", busy_timeout_seconds=0.05)
    store.put_many([put("j1")], NOON)
    other = sqlite3.connect(tmp_path / "online.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(TransientOnlineError, match="locked by another process"):
        store.put_many([put("j2")], NOON)
    assert store.get_many("m1", "job", ["j1"])[0] is not None  # a reader never waits for a writer
    other.execute("ROLLBACK")
    assert [r.status for r in store.put_many([put("j2")], NOON)] == [PutStatus.STORED]
    other.close()
    store.close()


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database, " * 1000)
    with pytest.raises(TerminalError, match="not an SQLite file"):
        SqliteStore(tmp_path / "notes.txt")


def test_a_damaged_file_is_refused_with_the_way_out(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "online.db")
    store.put_many([put(f"j{i}") for i in range(2000)], NOON)
    store.close()
    with (tmp_path / "online.db").open("r+b") as file:
        file.seek(3 * 4096)
        file.write(b"\xa5" * 30 * 4096)
    with pytest.raises(TerminalError, match="rebuild"):
        SqliteStore(tmp_path / "online.db").get_many("m1", "job", [f"j{i}" for i in range(2000)])


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE people (name TEXT)")
    other.close()
    with pytest.raises(TerminalError, match="another program"):
        SqliteStore(tmp_path / "other.db")


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    SqliteStore(tmp_path / "online.db").close()
    newer = sqlite3.connect(tmp_path / "online.db")
    newer.execute("PRAGMA user_version = 2")
    newer.close()
    with pytest.raises(TerminalError, match="version 2, this JUDE knows version 1"):
        SqliteStore(tmp_path / "online.db")


def test_a_path_that_cannot_be_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TerminalError, match="cannot be opened"):
        SqliteStore(tmp_path)
    with pytest.raises(TerminalError, match="cannot be made"):
        SqliteStore(tmp_path / "file" / "online.db")


def test_a_read_only_store_is_refused(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "online.db")
    store._writer.execute("PRAGMA query_only = 1")  # what a read-only mount gives, also to root
    with pytest.raises(TerminalError, match="may not be written"):
        store.put_many([put("j1")], NOON)
    store.close()


def test_a_full_disk_is_tried_again(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "online.db")
    pages = store._writer.execute("PRAGMA page_count").fetchone()[0]
    store._writer.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(TransientOnlineError, match="full disk"):
        store.put_many([put(f"j{i}") for i in range(500)], NOON)
    store._writer.execute("PRAGMA max_page_count = 1000000")
    assert {r.status for r in store.put_many([put(f"j{i}") for i in range(500)], NOON)} == {PutStatus.STORED}
    store.close()


def test_many_can_open_a_new_store_at_once(tmp_path: Path) -> None:
    start = threading.Barrier(8)

    def open_and_put(number: int) -> PutStatus:
        start.wait()
        store = SqliteStore(tmp_path / "online.db")
        (result,) = store.put_many([put(f"j{number}")], NOON)
        store.close()
        return result.status

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(open_and_put, range(8))) == [PutStatus.STORED] * 8


def test_threads_share_one_store(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "online.db")

    def put_and_get(number: int) -> bool:
        store.put_many([put(f"j{number}-{i}") for i in range(20)], NOON)
        return None not in store.get_many("m1", "job", [f"j{number}-{i}" for i in range(20)])

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(put_and_get, range(20)))
    store.close()


def test_now_needs_a_time_zone(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "online.db")
    with pytest.raises(ValueError, match="time zone"):
        store.put_many([put("j1")], NOON.replace(tzinfo=None))
    store.close()


def configured(kind: str) -> Any:
    """Settings that the checked ones would refuse."""
    return SimpleNamespace(kind=kind, path="", redis=None)


def test_without_an_online_store_puts_are_available_now_and_reads_say_where_to_look() -> None:
    store = open_online(configured("none"))
    assert [(r.status, r.available_at) for r in store.put_many([put("j1")], NOON)] == [(PutStatus.STORED, NOON)]
    assert store.resolve("current") is None
    with pytest.raises(TerminalError, match="view `embeddings`"):
        store.get_many("m1", "job", ["j1"])


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(TerminalSettingsError, match="'redsi'"):
        open_online(configured("redsi"))
    with pytest.raises(TerminalSettingsError, match=r"online\.path"):
        open_online(configured("sqlite"))
