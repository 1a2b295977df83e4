"""Wait for an answer, but not for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from jude.errors import TransientEncoderError

_P = ParamSpec("_P")
_T = TypeVar("_T")

_ABANDONED = "jude-abandoned-call"
_MOST_ABANDONED = 32  # threads of this process that hang for good; each may hold memory of a model


class AnswerTimeoutError(TransientEncoderError):
    """No answer within the time limit."""


def call_within(seconds: float, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call in a thread of its own; what does not answer within `seconds` is left behind.

    Nothing can stop a Python thread from outside, so hanging calls add up: past 32 of them none is started.
    Raises AnswerTimeoutError; TransientEncoderError when too many calls already hang; whatever the call raises.
    """
    if sum(thread.name == _ABANDONED for thread in threading.enumerate()) >= _MOST_ABANDONED:
        raise TransientEncoderError(
            f"{_MOST_ABANDONED} calls of the encoder hang in this process. Restart it; raise encoder.timeout_seconds "
            "if they were only slow."
        )
    answers: list[_T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            answers.append(call(*args, **kwargs))
        except BaseException as error:  # handed to the caller, whatever it is
            errors.append(error)

    thread = threading.Thread(target=work, name="jude-call", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        thread.name = _ABANDONED
        raise AnswerTimeoutError(f"The encoder gave no answer within {seconds:g} seconds.")
    if errors:
        raise errors[0]
    return answers[0]
