"""Why a request gets no vector, as gRPC says it."""

from __future__ import annotations

from enum import IntEnum

from jude.errors import JudeError


class Code(IntEnum):
    """The status codes that this service uses, with gRPC's numbers."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


TRANSIENT = frozenset({Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED, Code.DEADLINE_EXCEEDED})
"""Asking again may succeed; every other code is the same answer for ever."""


class RefusedError(JudeError):
    """A request, or one item of it, gets this status instead of a vector. The message never holds a text."""

    def __init__(self, code: Code, message: str, *, reason: str, retry_after_seconds: float | None = None) -> None:
        """`reason` is a word for metrics; `retry_after_seconds` says when there will be room."""
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds


def invalid(message: str, reason: str = "invalid") -> RefusedError:
    """The caller's mistake: asking again changes nothing."""
    return RefusedError(Code.INVALID_ARGUMENT, message, reason=reason)
