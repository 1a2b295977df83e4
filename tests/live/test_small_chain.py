"""The real chain once, small: PostgreSQL to Redis and the topic, the stream killed -9 under load, then all compared."""

from __future__ import annotations

import signal
import time

import pytest

from deploy.stack.stack import Stack
from tests.live.chain import Load, assert_equal, make_history, streaming

pytestmark = [pytest.mark.spark, pytest.mark.long, pytest.mark.timeout(600)]
RATE = 60.0


def test_a_stream_that_is_killed_under_load_loses_and_doubles_nothing(stack: Stack) -> None:
    load = Load(stack.database_url, RATE, make_history(11))
    with streaming(stack, "small") as (stream, settings):
        with load.running():
            while load.played < 100 or not (stack.folder / "small" / "tables" / "ledger").exists():
                time.sleep(0.1)
            time.sleep(1.0)
            stream.send(signal.SIGKILL)
            time.sleep(1.0)
        assert assert_equal(stack, settings, stream) > 50
        assert stream.starts == 2
