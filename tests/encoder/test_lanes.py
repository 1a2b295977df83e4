"""Passes side by side: one core each, and all of them for a single pass."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator

import pytest
import torch

from jude.encoder.lanes import Lanes


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def threads_of_a_pass() -> int:
    torch.ones(64, 64).exp().sum()  # torch looks at a thread's count when it first computes there
    return int(torch.get_num_threads())


def test_each_lane_computes_with_one_thread_and_a_single_pass_with_all() -> None:
    lanes = Lanes(2)

    assert [lanes.on_one_core(threads_of_a_pass) for _ in range(4)] == [1] * 4
    assert threads_of_a_pass() == 2


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread has no priority of its own")
def test_lanes_that_give_way_leave_the_other_threads_as_they_are() -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    lanes, before = Lanes(2), niceness()
    lanes.give_way()

    assert {lanes.on_one_core(niceness) for _ in range(4)} == {5}
    assert niceness() == before


def test_the_first_error_of_a_part_is_raised() -> None:
    def work(part: int) -> None:
        if part == 2:
            raise ValueError("part 2")

    with pytest.raises(ValueError, match="part 2"):
        Lanes(2).run(work, [1, 2, 3], 2)
