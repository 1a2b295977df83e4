"""What every online store promises."""

from __future__ import annotations

import itertools
import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jude.online import OnlineStore, OnlineVector, Put, PutResult, PutStatus, open_online
from tests.online.places import Place, place_of
from tests.stack.redis import redis_cluster, redis_server

__all__ = ["redis_cluster", "redis_server"]

STORED, SAME, NEWER = PutStatus.STORED, PutStatus.ALREADY_THIS_POSITION, PutStatus.NEWER_PRESENT
NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
KINDS = ["sqlite", "redis", "redis-cluster"]  # with place_of(): all that a new store adds to join
SERVERS = {"redis": "redis_server", "redis-cluster": "redis_cluster"}
FRESH_IDS = itertools.count()
PROJECT = Path(__file__).parents[2]


def minutes(count: int) -> datetime:
    return NOON + timedelta(minutes=count)


def put(entity_id: str, position: int, number: float | None = 1.0, model_version: str = "m1") -> Put:
    vector = None if number is None else struct.pack("<2f", number, -number)
    return Put(model_version, "job", entity_id, f"{position:04d}", vector, "float32", 2)


def number(found: OnlineVector | None) -> float | None:
    return None if found is None else struct.unpack("<2f", found.vector)[0]


@pytest.fixture(params=KINDS, scope="module")
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return a_place(request.param, tmp_path_factory.mktemp("online"), request)


def a_place(kind: str, folder: Path, request: pytest.FixtureRequest) -> Place:
    return place_of(kind, folder, lambda: request.getfixturevalue(SERVERS[kind]).url)


@pytest.fixture(scope="module")
def store(place: Place) -> Iterator[OnlineStore]:
    opened = open_online(place)
    yield opened
    opened.close()


@pytest.fixture
def j() -> str:
    """An entity that no other test has touched."""
    return f"j{next(FRESH_IDS)}"


def test_a_vector_comes_back_as_it_was_put(store: OnlineStore, j: str) -> None:
    assert store.put_many([put(j, 1, 0.5)], NOON) == [PutResult(STORED, NOON)]
    assert store.get_many("m1", "job", [j]) == [OnlineVector(struct.pack("<2f", 0.5, -0.5), "float32", 2, "0001", NOON)]


def test_bfloat16_takes_two_bytes_a_number(store: OnlineStore, j: str) -> None:
    store.put_many([Put("m1", "job", j, "0001", b"\x80\x3f\x00\x00\x80\xbf", "bfloat16", 3)], NOON)
    (found,) = store.get_many("m1", "job", [j])
    assert found is not None
    assert (found.vector, found.dtype, found.dim) == (b"\x80\x3f\x00\x00\x80\xbf", "bfloat16", 3)


def test_answers_keep_the_order_of_the_ids(store: OnlineStore, j: str) -> None:
    a, b = f"{j}-a", f"{j}-b"
    store.put_many([put(a, 1, 1.0), put(b, 1, 2.0)], NOON)
    assert [number(v) for v in store.get_many("m1", "job", [b, "nobody", a, b])] == [2.0, None, 1.0, 2.0]
    assert store.get_many("m1", "job", []) == []
    assert store.put_many([], NOON) == []


def test_hundreds_of_ids_in_one_call(store: OnlineStore, j: str) -> None:
    store.put_many([put(f"{j}-{i}", 1, float(i)) for i in range(700)], NOON)
    ids = [f"{j}-{i}" for i in reversed(range(700))]
    assert [number(v) for v in store.get_many("m1", "job", ids)] == [float(i) for i in reversed(range(700))]


def test_entity_types_and_model_versions_are_apart(store: OnlineStore, j: str) -> None:
    store.put_many([put(j, 2, 2.0), put(j, 1, 1.0, "m2")], NOON)
    assert number(store.get_many("m1", "job", [j])[0]) == 2.0
    assert number(store.get_many("m2", "job", [j])[0]) == 1.0
    assert store.get_many("m1", "member", [j]) == [None]


def test_a_replayed_put_answers_with_the_first_available_at(store: OnlineStore, j: str) -> None:
    store.put_many([put(j, 1)], NOON)
    assert store.put_many([put(j, 1)], minutes(5)) == [PutResult(SAME, NOON)]
    (found,) = store.get_many("m1", "job", [j])
    assert found is not None
    assert found.available_at == NOON


def test_a_late_put_was_never_served(store: OnlineStore, j: str) -> None:
    store.put_many([put(j, 2, 2.0)], NOON)
    assert store.put_many([put(j, 1, 1.0)], minutes(1)) == [PutResult(NEWER, None)]
    assert number(store.get_many("m1", "job", [j])[0]) == 2.0


def test_positions_of_one_key_in_one_call(store: OnlineStore, j: str) -> None:
    results = store.put_many([put(j, 2, 2.0), put(j, 1, 1.0), put(j, 2, 9.0), put(j, 3, 3.0)], NOON)
    assert [r.status for r in results] == [STORED, NEWER, SAME, STORED]
    assert number(store.get_many("m1", "job", [j])[0]) == 3.0


def test_a_late_put_does_not_bring_back_a_deleted_job(store: OnlineStore, j: str) -> None:
    store.put_many([put(j, 1)], NOON)
    assert store.put_many([put(j, 3, None)], minutes(1)) == [PutResult(STORED, minutes(1))]
    assert store.put_many([put(j, 2)], minutes(2)) == [PutResult(NEWER, None)]
    assert store.put_many([put(j, 3)], minutes(2)) == [PutResult(SAME, minutes(1))]
    assert store.get_many("m1", "job", [j]) == [None]


def test_a_tombstone_can_come_before_anything_else(store: OnlineStore, j: str) -> None:
    store.put_many([put(j, 2, None)], NOON)
    assert [r.status for r in store.put_many([put(j, 1)], NOON)] == [NEWER]
    assert [r.status for r in store.put_many([put(j, 3, 3.0)], NOON)] == [STORED]
    assert number(store.get_many("m1", "job", [j])[0]) == 3.0


def test_nothing_of_a_wrong_batch_is_put(store: OnlineStore, j: str) -> None:
    wrong = Put("m1", "job", j, "0002", b"\x00" * 7, "float32", 2)
    with pytest.raises(ValueError, match="8 bytes"):
        store.put_many([put(j, 1), wrong], NOON)
    assert store.get_many("m1", "job", [j]) == [None]


def test_odd_ids_are_ids(store: OnlineStore, j: str) -> None:
    ids = [f"{j}{odd}" for odd in ("", " ", "'; --", "\x00", "é", "e\u0301", "\u202e", "x" * 10_000, "%", "?")]
    store.put_many([put(entity_id, 1, float(i)) for i, entity_id in enumerate(ids)], NOON)
    assert [number(v) for v in store.get_many("m1", "job", ids)] == [float(i) for i in range(len(ids))]


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=30), st.data())
@settings(max_examples=60, deadline=None)
def test_the_newest_position_wins_in_any_order_and_cut(
    store: OnlineStore, events: list[tuple[int, bool]], data: st.DataObject
) -> None:
    """One position stands for one change, so its content is a function of the position."""
    entity_id = f"any-{next(FRESH_IDS)}"
    alive = dict(events)
    positions = [position for position, _ in events]
    order = data.draw(st.permutations(positions))
    cut = data.draw(st.integers(1, 7))
    highest = -1
    for start in range(0, len(order), cut):
        part = order[start : start + cut]
        results = store.put_many([put(entity_id, p, float(p) if alive[p] else None) for p in part], NOON)
        for position, result in zip(part, results, strict=True):
            wanted = STORED if position > highest else SAME if position == highest else NEWER
            assert result.status == wanted
            highest = max(highest, position)
    assert number(store.get_many("m1", "job", [entity_id])[0]) == (float(highest) if alive[highest] else None)


def test_aliases_flip(store: OnlineStore) -> None:
    assert store.resolve("current") is None
    store.flip("current", "m1")
    store.flip("next", "m2")
    store.flip("current", "m2")
    assert (store.resolve("current"), store.resolve("next")) == ("m2", "m2")


def test_another_reader_sees_what_was_put(store: OnlineStore, place: Place, j: str) -> None:
    other = open_online(place)
    store.put_many([put(j, 1, 4.0)], NOON)
    assert number(other.get_many("m1", "job", [j])[0]) == 4.0
    other.close()


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_on_the_same_keys_store_every_position_at_most_once(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    place = a_place(kind, tmp_path, request)
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.online.hammer", place.kind, place.path, str(first), "60", "20"],
            stdout=subprocess.PIPE,
            text=True,
            cwd=PROJECT,
        )
        for first in (0, 1)
    ]
    counts = [json.loads(process.communicate(timeout=60)[0]) for process in started]

    assert all(sum(count.values()) == 30 * 20 for count in counts)
    assert not any("already_this_position" in count for count in counts)  # one writes even steps, the other odd ones
    store = open_online(place)
    found = store.get_many("m1", "job", [f"j{key}" for key in range(20)])
    assert [v and (v.position, struct.unpack("<f", v.vector)[0]) for v in found] == [("00000059", 59.0)] * 20
    store.close()
