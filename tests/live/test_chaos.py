"""kill -9 and SIGSTOP of every part under load: PostgreSQL == embeddings == Redis == topic, no vector twice.

`make test-live` runs all of it; JUDE_CHAOS_ROUNDS (3) and JUDE_CHAOS_SEED (7) say how often, and where.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from deploy.live.stream import SupervisedStream
from deploy.stack.stack import Stack
from jude.settings import Settings
from tests.live.chain import (
    HASHING,
    Load,
    Victim,
    assert_equal,
    make_history,
    pause,
    serving,
    streaming,
    victims,
    wait_for_services,
)

pytestmark = [pytest.mark.live, pytest.mark.spark, pytest.mark.timeout(900)]
ROUNDS = int(os.environ.get("JUDE_CHAOS_ROUNDS", "3"))
SEED = int(os.environ.get("JUDE_CHAOS_SEED", "7"))
STOP_SECONDS = float(os.environ.get("JUDE_CHAOS_STOP_SECONDS", "20"))
RATE = 120.0
PARTS = ("driver", "worker", "kafka", "connect", "postgres", "redis", "encoder")
ON_EXECUTORS = (*HASHING, "encoder.where=executors", "stream.planner=executors")


@contextmanager
def chain(part: str, stack: Stack, name: str) -> Iterator[tuple[SupervisedStream, Settings, Victim]]:
    """A stream that has caught up, and the victim; the encoder is a process of its own only where it is that."""
    if part == "encoder":
        with serving(stack.folder) as (server, remote), streaming(stack, name, remote) as (stream, settings):
            assert_equal(stack, settings, stream)
            yield stream, settings, server.send
        return
    with streaming(stack, name, ON_EXECUTORS if part == "worker" else HASHING) as (stream, settings):
        assert_equal(stack, settings, stream)
        yield stream, settings, victims(stack, stream)[part]


@pytest.mark.parametrize("part", PARTS)
def test_kill_at_random_moments_under_load(part: str, stack: Stack) -> None:
    chance = random.Random(f"{SEED}:{part}")
    load = Load(stack.database_url, RATE, make_history(SEED))
    with chain(part, stack, f"kill-{part}") as (stream, settings, victim):
        with load.running():
            for _ in range(ROUNDS):
                time.sleep(chance.uniform(1.0, 5.0))
                victim(signal.SIGKILL)
                time.sleep(0.3)
                stack.heal()
                wait_for_services(stack)
            time.sleep(2.0)
        assert load.played > 100
        assert_equal(stack, settings, stream)
        if part == "driver":
            assert stream.starts > ROUNDS


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_stands_still_is_waited_for(part: str, stack: Stack) -> None:
    load = Load(stack.database_url, RATE, make_history(SEED + 1))
    with chain(part, stack, f"stop-{part}") as (stream, settings, victim):
        with load.running():
            time.sleep(2.0)
            pause(victim, STOP_SECONDS)
            time.sleep(2.0)
        assert_equal(stack, settings, stream)
