"""Who may wait: two gates, the same for one text, a list and a stream. Pure: numbers in, a refusal or nothing out.

The first gate stands before tokenising and looks at bytes and counts, so that refusing costs no work. The second knows
the exact tokens and refuses what would wait too long, at once instead of after the deadline.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jude.serving.lanes import Lane
from jude.serving.refusal import Code, RefusedError, invalid

_SHORTEST_WAIT_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Gates:
    """The limits of one server."""

    max_items: int
    max_waiting_bytes: int  # with the tokeniser
    queue_seconds: Mapping[Lane, float]  # of computing


def check_size(gates: Gates, items: int, size_bytes: int, waiting_bytes: int, expected_wait_seconds: float) -> None:
    """The gate before tokenising. Raises RefusedError: INVALID_ARGUMENT or RESOURCE_EXHAUSTED."""
    if items == 0:
        raise invalid("The list is empty: send at least one input.", "empty_list")
    if items > gates.max_items:
        raise invalid(f"The list has {items} items; this server takes {gates.max_items} at a time.", "too_many_items")
    if waiting_bytes and waiting_bytes + size_bytes > gates.max_waiting_bytes:
        raise _full("Too many bytes wait for the tokeniser.", "tokeniser_full", expected_wait_seconds)


def check_room(
    gates: Gates,
    lane: Lane,
    tokens: int,
    queued: Mapping[Lane, int],
    tokens_per_second: float,
    seconds_left: float,
) -> None:
    """The gate after tokenising. Raises RefusedError: RESOURCE_EXHAUSTED with a delay, at once.

    An empty lane takes any list; otherwise what waits may not grow past its bound, and nothing is let in that cannot be
    computed before its deadline: it would only take the place of what can.
    """
    wait = wait_seconds(lane, queued, tokens_per_second)
    own = tokens / tokens_per_second
    room = gates.queue_seconds[lane] * tokens_per_second
    if queued[lane] and queued[lane] + tokens > room:
        surplus = (queued[lane] + tokens - room) / tokens_per_second
        raise _full(f"The {lane.name} queue is full.", "queue_full", surplus)
    if wait + own > seconds_left:
        raise _full("It would not be done before its deadline.", "too_late", wait + own - max(0.0, seconds_left))


def wait_seconds(lane: Lane, queued: Mapping[Lane, int], tokens_per_second: float) -> float:
    """Predict how long new work waits: for its own lane, and for bulk work for both."""
    before = queued[Lane.ONLINE] + (queued[Lane.BULK] if lane is Lane.BULK else 0)
    return before / tokens_per_second


def _full(what: str, reason: str, retry_after_seconds: float) -> RefusedError:
    delay = max(_SHORTEST_WAIT_SECONDS, retry_after_seconds)
    return RefusedError(
        Code.RESOURCE_EXHAUSTED, f"{what} Try again in {delay:.2f} s.", reason=reason, retry_after_seconds=delay
    )
