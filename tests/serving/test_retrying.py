"""When a client asks again."""

from __future__ import annotations

from typing import Any

import pytest

from jude.serving.refusal import Code, RefusedError
from jude.serving.retrying import pause_before_retry
from jude.serving.v1 import embedding_pb2 as pb
from jude.serving.wire_status import DETAILS_KEY, retry_after_seconds, status_metadata


def refused(code: Code, after: float | None = None) -> RefusedError:
    return RefusedError(code, "no", reason="test", retry_after_seconds=after)


def pause(code: Code, after: float | None = None, attempt: int = 0, left: float = 10.0) -> float | None:
    return pause_before_retry(refused(code, after), attempt, left, lambda: 0.5)


@pytest.mark.parametrize("code", [Code.INVALID_ARGUMENT, Code.INTERNAL, Code.FAILED_PRECONDITION, Code.UNAUTHENTICATED])
def test_terminal_answers_are_not_asked_again(code: Code) -> None:
    assert pause(code) is None


def test_a_server_that_is_away_is_asked_ever_less_often() -> None:
    pauses = [pause(Code.UNAVAILABLE, attempt=attempt) for attempt in range(8)]

    assert pauses == sorted(p for p in pauses if p is not None)
    assert pauses[-1] == 1.5


def test_a_full_server_is_asked_when_it_said_and_never_earlier() -> None:
    assert pause(Code.RESOURCE_EXHAUSTED, 0.4) == pytest.approx(0.5)
    assert pause_before_retry(refused(Code.RESOURCE_EXHAUSTED, 0.4), 0, 10.0, lambda: 0.0) == 0.4


def test_a_message_too_large_for_grpc_is_not_sent_again() -> None:
    assert pause(Code.RESOURCE_EXHAUSTED) is None


def test_nothing_is_asked_again_after_the_deadline() -> None:
    assert pause(Code.UNAVAILABLE, left=0.01) is None


def test_the_delay_travels_in_both_ways_that_clients_know() -> None:
    metadata = status_metadata(refused(Code.RESOURCE_EXHAUSTED, 0.25))
    status = pb.RpcStatus.FromString(bytes(dict[str, Any](metadata)[DETAILS_KEY]))
    info = pb.RetryInfo.FromString(status.details[0].value)

    assert retry_after_seconds(metadata) == 0.25
    assert status.details[0].type_url == "type.googleapis.com/google.rpc.RetryInfo"
    assert info.retry_delay.ToMilliseconds() == 250
    assert status_metadata(refused(Code.INTERNAL)) == ()
