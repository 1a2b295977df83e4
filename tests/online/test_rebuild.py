"""A lost online store comes back from the tables."""

from __future__ import annotations

import struct
from datetime import datetime
from pathlib import Path

import pytest

from jude.online import Put, PutStatus, SqliteStore
from jude.online.rebuild import Rebuilt, Verified, rebuild, verify
from tests.tables.shelf import empty, float32, minutes, write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """j1 and j2 share a vector, j3 is deleted, j4 points at a vector that is not stored, p1 is a member."""
    root = empty(tmp_path / "tables")
    write(root, "embedding_store", {"input_hash": "a"} | float32(1, 2), {"input_hash": "b"} | float32(3, 4))
    write(root, "embedding_store", {"input_hash": "a"} | float32(1, 2), {"input_hash": "old"} | float32(5, 6))
    write(
        root,
        "embedding_current",
        {"entity_id": "j1", "position": "07", "input_hash": "a"},
        {"entity_id": "j2", "position": "03", "input_hash": "a"},
        {"entity_id": "j3", "position": "09", "status": "deleted"},
        {"entity_id": "j4", "position": "04", "input_hash": "lost"},
        {"entity_id": "p1", "position": "02", "input_hash": "b", "entity_type": "member"},
        {"entity_id": "j1", "position": "07", "input_hash": "a", "model_version": "m2"},
    )
    write(root, "model_versions", {"model_version": "m1", "alias": "current"})
    return root


def now() -> datetime:
    return minutes(60)


def test_vectors_tombstones_and_alias_come_back(root: Path, tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "online.db")
    steps: list[int] = []
    assert rebuild(store, root, "m1", now, steps.append) == Rebuilt(3, 1, 0, without_vector=1)
    j1, j2, j3, j4 = store.get_many("m1", "job", ["j1", "j2", "j3", "j4"])
    (p1,) = store.get_many("m1", "member", ["p1"])
    assert [v and (struct.unpack("<2f", v.vector), v.position, v.available_at) for v in (j1, j2, p1)] == [
        ((1, 2), "07", minutes(60)),
        ((1, 2), "03", minutes(60)),
        ((3, 4), "02", minutes(60)),
    ]
    assert (j3, j4, store.resolve("current"), steps) == (None, None, "m1", [4])
    late = Put("m1", "job", "j3", "08", b"\x00" * 8, "float32", 2)
    assert store.put_many([late], now())[0].status == PutStatus.NEWER_PRESENT
    assert store.get_many("m2", "job", ["j1"]) == [None]
    store.close()


def test_what_the_stream_put_meanwhile_stays(root: Path, tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "online.db")
    store.put_many([Put("m1", "job", "j1", "08", b"\x01" * 8, "float32", 2)], minutes(1))
    assert rebuild(store, root, "m1", now).already_there == 1
    (j1,) = store.get_many("m1", "job", ["j1"])
    assert j1 is not None
    assert (j1.position, j1.available_at) == ("08", minutes(1))
    assert rebuild(store, root, "m1", now) == Rebuilt(0, 0, 4, without_vector=1)
    store.close()


def test_an_intact_store_is_left_alone_although_skips_moved_the_tables_on(root: Path, tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "online.db")
    store.put_many([Put("m1", "job", "j1", "05", struct.pack("<2f", 1, 2), "float32", 2)], minutes(1))
    assert rebuild(store, root, "m1", now) == Rebuilt(2, 1, 1, without_vector=1)
    (j1,) = store.get_many("m1", "job", ["j1"])
    assert j1 is not None
    assert (j1.position, j1.available_at) == ("05", minutes(1))
    store.close()


def test_a_wrong_store_is_told_and_repaired(root: Path, tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "online.db")

    def put(entity_id: str, position: str, number: float) -> Put:
        return Put("m1", "job", entity_id, position, struct.pack("<2f", number, 2), "float32", 2)

    store.put_many([put("j1", "06", 9), put("j2", "03", 1), put("j3", "08", 1)], minutes(1))
    store.put_many([Put("m1", "member", "p1", "03", b"\x01" * 8, "float32", 2)], minutes(1))
    found = verify(store, root, "m1")
    assert found == Verified(right=1, newer=1, missing=0, wrong_vector=1, undeleted=1, repaired=0, without_vector=1)
    assert verify(store, root, "m1", now).repaired == 2
    assert verify(store, root, "m1").wrong == 0
    store.close()


def test_what_a_guarded_put_cannot_mend_stays_wrong(root: Path, tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "online.db")
    store.put_many([Put("m1", "job", "j1", "07", b"\x01" * 8, "float32", 2)], minutes(1))
    assert verify(store, root, "m1", now).wrong == 1
    store.close()
