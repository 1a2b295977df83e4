"""Two gates, by bytes and by tokens, the same for one text and for a list."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import pytest

from jude.serving.admission import Gates, check_room, check_size, wait_seconds
from jude.serving.lanes import Lane
from jude.serving.refusal import Code, RefusedError

GATES = Gates(max_items=10, max_waiting_bytes=1000, queue_seconds={Lane.ONLINE: 1.0, Lane.BULK: 30.0})
SPEED = 1000.0  # tokens per second


def queued(online: int = 0, bulk: int = 0) -> dict[Lane, int]:
    return {Lane.ONLINE: online, Lane.BULK: bulk}


def refusal(call: Callable[..., object], *args: object) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        call(*args)
    return caught.value


def test_sizes_that_can_never_pass_are_invalid() -> None:
    assert refusal(check_size, GATES, 0, 10, 0, 0.0).code is Code.INVALID_ARGUMENT
    check_size(GATES, 10, 10, 0, 0.0)
    assert refusal(check_size, GATES, 11, 10, 0, 0.0).code is Code.INVALID_ARGUMENT


def test_bytes_that_wait_for_the_tokeniser_are_bounded() -> None:
    check_size(GATES, 1, 400, 600, 0.0)
    refused = refusal(check_size, GATES, 1, 401, 600, 0.5)

    assert (refused.code, refused.retry_after_seconds) == (Code.RESOURCE_EXHAUSTED, 0.5)


def test_a_full_lane_refuses_and_says_when_there_is_room() -> None:
    check_room(GATES, Lane.ONLINE, 200, queued(online=800), SPEED, inf)
    refused = refusal(check_room, GATES, Lane.ONLINE, 300, queued(online=800), SPEED, inf)

    assert (refused.code, refused.reason) == (Code.RESOURCE_EXHAUSTED, "queue_full")
    assert refused.retry_after_seconds == pytest.approx(0.1)


def test_an_empty_lane_takes_a_list_larger_than_itself() -> None:
    check_room(GATES, Lane.ONLINE, 5000, queued(), SPEED, inf)


def test_a_full_bulk_lane_does_not_keep_queries_out() -> None:
    check_room(GATES, Lane.ONLINE, 10, queued(bulk=30_000), SPEED, 0.1)


def test_what_cannot_be_done_in_time_is_refused_at_once() -> None:
    refused = refusal(check_room, GATES, Lane.BULK, 1000, queued(online=500, bulk=2000), SPEED, 3.0)

    assert refused.reason == "too_late"
    assert refused.retry_after_seconds == pytest.approx(0.5)


def test_bulk_work_waits_for_both_lanes_and_queries_for_their_own() -> None:
    both = queued(online=500, bulk=2000)

    assert wait_seconds(Lane.BULK, both, SPEED) == 2.5
    assert wait_seconds(Lane.ONLINE, both, SPEED) == 0.5
