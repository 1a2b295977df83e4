"""Debezium reads the tables again: beside the stream (incremental), and from the beginning after its slot was lost."""

from __future__ import annotations

import time

import pytest

from deploy.live.source import Source
from deploy.stack.processes import stop
from deploy.stack.stack import Stack
from jude.settings import Settings
from jude.tables.reading import read
from tests.live.chain import assert_equal, make_history, streaming

pytestmark = [pytest.mark.live, pytest.mark.spark, pytest.mark.timeout(600)]
ASK = """INSERT INTO debezium_signal VALUES (%s, 'execute-snapshot',
    '{"data-collections": ["public.jobs", "public.members"], "type": "incremental"}')"""
CAUGHT_UP_SECONDS = 60.0


def counted(settings: Settings, column: str) -> int:
    return sum(read(str(settings.tables.root), "ledger", [column]).column(column).to_pylist())


def rows_in(source: Source, *tables: str) -> int:
    return sum(source.execute(f"SELECT count(*) FROM {table}")[0][0] for table in tables)


def wait_for_events(settings: Settings, events: int) -> None:
    end = time.monotonic() + CAUGHT_UP_SECONDS
    while counted(settings, "events_in") < events and time.monotonic() < end:
        time.sleep(0.3)
    assert counted(settings, "events_in") >= events


def test_an_incremental_snapshot_beside_changes_costs_no_inference(stack: Stack) -> None:
    source = Source(stack.database_url)
    source.play(make_history(5)[:600])
    with streaming(stack, "incremental") as (stream, settings):
        assert_equal(stack, settings, stream)
        events, inferences = counted(settings, "events_in"), counted(settings, "inferences")
        source.execute(ASK, f"again-{time.time_ns()}")
        for number in range(20):  # while the snapshot reads
            source.execute("UPDATE jobs SET status = %s WHERE id = (SELECT min(id) FROM jobs)", f"state {number}")
        wait_for_events(settings, events + rows_in(source, "jobs", "members"))
        assert_equal(stack, settings, stream)
        assert counted(settings, "inferences") == inferences
    source.close()


def test_a_new_snapshot_after_a_lost_slot_finds_what_changed_meanwhile(stack: Stack) -> None:
    source = Source(stack.database_url)
    source.play(make_history(6)[:600])
    with streaming(stack, "again") as (stream, settings):
        assert_equal(stack, settings, stream)
        inferences = counted(settings, "inferences")
        stop(stack.started["connect"])
        source.execute("SELECT pg_drop_replication_slot('jude')")
        (stack.places.of("connect") / "offsets").unlink()
        source.execute("UPDATE jobs SET title = 'Nobody saw this' WHERE id = (SELECT max(id) FROM jobs)")
        stack.start("connect")
        stack.wait_for("connect")
        assert_equal(stack, settings, stream)
        assert counted(settings, "inferences") == inferences + 1
    source.close()
