"""When to ask again: only what may pass, only within the deadline, never all callers at once. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jude.serving.refusal import Code, RefusedError
from jude.serving.wire_status import retry_after_seconds

_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 2.0
_JITTER = 0.5  # of the server's delay: those refused together come back apart

Random = Callable[[], float]
"""Gives numbers in [0, 1)."""


def refusal_of(error: Any) -> RefusedError:  # noqa: ANN401  grpc ships no types
    """Turn a grpc.RpcError into the refusal that it reports."""
    number = error.code().value[0]
    code = Code(number) if number in set(Code) else Code.UNKNOWN
    after = retry_after_seconds(error.trailing_metadata())
    return RefusedError(code, error.details() or code.name, reason="reported", retry_after_seconds=after)


def pause_before_retry(refused: RefusedError, attempt: int, seconds_left: float, random: Random) -> float | None:
    """Seconds to wait before asking again; None: this refusal is the answer.

    Embedding changes nothing on the server, so UNAVAILABLE is always safe to repeat, and so is a call that a stopping
    server cancelled. RESOURCE_EXHAUSTED is repeated
    only with the server's delay: without one it is a message too large for gRPC, the same for ever.
    """
    if refused.code in (Code.UNAVAILABLE, Code.CANCELLED):
        pause = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0**attempt) * (0.5 + random() / 2)
    elif refused.code is Code.RESOURCE_EXHAUSTED and refused.retry_after_seconds is not None:
        pause = refused.retry_after_seconds * (1 + _JITTER * random())
    else:
        return None
    return pause if pause < seconds_left else None
