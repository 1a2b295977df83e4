"""Everything at once: any part killed or stopped at any moment, maintenance beside it. `make test-chaos`.

JUDE_CHAOS_MINUTES (15), JUDE_CHAOS_SEED (7).
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import Counter

import pytest

from deploy.stack.stack import Stack
from jude.settings import Settings
from jude.tables.maintenance import maintain
from tests.live.chain import Load, assert_equal, make_history, pause, serving, streaming, victims, wait_for_services

MINUTES = float(os.environ.get("JUDE_CHAOS_MINUTES", "0"))
SEED = int(os.environ.get("JUDE_CHAOS_SEED", "7"))
pytestmark = [
    pytest.mark.live, pytest.mark.spark, pytest.mark.timeout(MINUTES * 60 + 900),
    pytest.mark.skipif(not MINUTES, reason="JUDE_CHAOS_MINUTES is not set: make test-chaos"),
]  # fmt: skip
RATE = 120.0


def test_everything_goes_wrong_for_minutes(stack: Stack) -> None:
    chance, end = random.Random(SEED), time.monotonic() + MINUTES * 60
    load, done = Load(stack.database_url, RATE, make_history(SEED)), Counter[str]()
    with (
        serving(stack.folder) as (server, remote),
        streaming(stack, "all", (*remote, "stream.planner=executors")) as (stream, settings),
    ):
        assert_equal(stack, settings, stream)
        with load.running():
            while time.monotonic() < end:
                time.sleep(chance.uniform(2.0, 15.0))
                everyone = {**victims(stack, stream), "encoder": server.send}
                part = chance.choice(sorted(everyone))
                if chance.random() < 0.3:
                    pause(everyone[part], chance.uniform(1.0, 20.0))
                    done[f"{part} stopped"] += 1
                else:
                    everyone[part](signal.SIGKILL)
                    done[f"{part} killed"] += 1
                wait_for_services(stack)
                if chance.random() < 0.2:
                    done["maintained"] += keep(settings)
        entities = assert_equal(stack, settings, stream)
    assert load.played > 100
    sys.stderr.write(f"\n{entities} rows equal after {load.played} changes, {load.failed} refused; {dict(done)}\n")


def keep(settings: Settings) -> int:
    """One pass of maintenance beside the stream."""
    maintain(str(settings.tables.root), settings.tables.storage_options, settings.maintenance)
    return 1
