"""kill -9 and SIGSTOP of every part under load: PostgreSQL == embeddings == Redis == topic, no vector twice.

`make test-live` runs all of it; JUDE_CHAOS_ROUNDS (3), JUDE_CHAOS_STOP_SECONDS (20) and JUDE_CHAOS_SEED (7) say how
often, how long and where.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

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

pytestmark = [pytest.mark.live, pytest.mark.spark, pytest.mark.long, pytest.mark.timeout(600)]
ROUNDS = int(os.environ.get("JUDE_CHAOS_ROUNDS", "3"))
SEED = int(os.environ.get("JUDE_CHAOS_SEED", "7"))
STOP_SECONDS = float(os.environ.get("JUDE_CHAOS_STOP_SECONDS", "20"))
RATE = 120.0
# In one process where the part is nothing of its own; else planned by Python workers, encoded by a server.
PARTS = ("driver", "kafka", "connect", "postgres", "redis", "worker", "encoder")
SPREAD_OUT = ("worker", "encoder")


@dataclass(frozen=True)
class Chain:
    """A stream that has caught up, and what can be struck."""

    spread_out: bool
    stream: SupervisedStream
    settings: Settings
    victims: Mapping[str, Victim]


@pytest.fixture(scope="module")
def chain_of(stack: Stack) -> Iterator[Callable[[str], Chain]]:
    """Give the chain that a part belongs to. One runs at a time: what one test did to it is history of the next."""
    open_ones: list[Chain] = []
    with ExitStack() as running:

        def give(part: str) -> Chain:
            spread_out = part in SPREAD_OUT
            if not open_ones or open_ones[-1].spread_out != spread_out:
                running.close()
                open_ones.append(running.enter_context(open_chain(stack, spread_out=spread_out)))
            return open_ones[-1]

        yield give


@contextmanager
def open_chain(stack: Stack, *, spread_out: bool) -> Iterator[Chain]:
    with ExitStack() as running:
        name, overrides, more = "together", tuple[str, ...](HASHING), dict[str, Victim]()
        if spread_out:
            server, remote = running.enter_context(serving(stack.folder))
            name, more = "spread-out", {"encoder": server.send}
            overrides = (*remote, "encoder.where=executors", "stream.planner=executors")
        stream, settings = running.enter_context(streaming(stack, name, overrides))
        assert_equal(stack, settings, stream)
        yield Chain(spread_out, stream, settings, {**victims(stack, stream), **more})


@pytest.mark.parametrize("fault", ["killed", "standing"])
@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_struck_under_load(part: str, fault: str, chain_of: Callable[[str], Chain], stack: Stack) -> None:
    chain, chance = chain_of(part), random.Random(f"{SEED}:{fault}:{part}")
    load = Load(stack.database_url, RATE, make_history(chance.randrange(1000)))
    starts = chain.stream.starts
    with load.running():
        if fault == "standing":
            time.sleep(2.0)
            pause(chain.victims[part], STOP_SECONDS)
        else:
            kill_again_and_again(chain.victims[part], chance, stack)
        time.sleep(2.0)
    finish(chain, load, stack)
    if (part, fault) == ("driver", "killed"):
        assert chain.stream.starts >= starts + ROUNDS


def kill_again_and_again(victim: Victim, chance: random.Random, stack: Stack) -> None:
    """At random moments, each time with everything up."""
    for _ in range(ROUNDS):
        time.sleep(chance.uniform(1.0, 5.0))
        victim(signal.SIGKILL)
        time.sleep(0.3)
        stack.heal()
        wait_for_services(stack)


def finish(chain: Chain, load: Load, stack: Stack) -> None:
    """Everything agrees in the end, and there was a load."""
    ended = time.monotonic()
    entities = assert_equal(stack, chain.settings, chain.stream)
    assert load.played > 100
    equal = f"{entities} rows equal {time.monotonic() - ended:.0f} s after the last of {load.played} changes"
    sys.stderr.write(f"\n{equal} in {load.seconds:.0f} s, {load.failed} refused\n")
