"""A database is restored from a backup: its log numbers begin lower, and the runbook of docs/operations.md heals it."""

from __future__ import annotations

import time

import pytest

from deploy.live.source import Source
from deploy.stack.stack import Stack
from jude.changes.position import parse_position
from jude.tables.reading import current_pointers, model_of_alias
from tests.live.chain import HASHING, assert_equal, make_history, streaming

pytestmark = [pytest.mark.live, pytest.mark.spark, pytest.mark.timeout(600)]


def test_changes_of_a_restored_database_count_once_the_epoch_is_raised(stack: Stack) -> None:
    """Two streams over one set of tables stand for before and after: the second reads under the next epoch.

    The log of a real restored database begins lower; here every position of the first epoch is above those of the
    second by the epoch alone, which is what the stored positions compare first.
    """
    source = Source(stack.database_url)
    source.play(make_history(3)[:200])
    with streaming(stack, "epoch") as (stream, settings):
        assert_equal(stack, settings, stream)
    root = str(settings.tables.root)
    version = model_of_alias(root)
    assert version is not None
    assert epochs(root, version) == {0}

    after = f"stream.checkpoint={stack.folder}/epoch/checkpoint-1"
    with streaming(stack, "epoch", (*HASHING, "stream.source_epoch=1", after)) as (stream, settings):
        source.execute("UPDATE jobs SET title = 'After the restore' WHERE id = (SELECT min(id) FROM jobs)")
        assert_equal(stack, settings, stream)
        end = time.monotonic() + 60
        while epochs(root, version) != {1} and time.monotonic() < end:
            time.sleep(0.5)
    assert epochs(root, version) == {1}
    source.close()


def epochs(root: str, version: str) -> set[int]:
    positions = current_pointers(root, None, version, "live")["position"].to_pylist()
    return {parse_position(position).source_epoch for position in positions}
