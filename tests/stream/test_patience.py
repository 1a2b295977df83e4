"""A failing batch is tried again for a while, a stopped one is not, and a hopeless one never."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from jude.errors import JudeError, TerminalTableError, TransientOnlineError
from jude.stream.drain import Drain, DrainedError
from jude.stream.patience import Patience


class Waiting(Drain):
    """Time passes by waiting only."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)

    def now(self) -> float:
        return 100.0 + sum(self.waits)


@dataclass
class Failing:
    """Fails with each of these errors, then gives `done`."""

    errors: Iterator[JudeError]
    calls: list[int] = field(default_factory=list)

    def __call__(self) -> str:
        self.calls.append(1)
        error = next(self.errors, None)
        if error is not None:
            raise error
        return "done"


def patient(seconds: float, drain: Waiting, jitter: Callable[[], float] = lambda: 1.0) -> Patience:
    return Patience(seconds, drain, drain.now, jitter)


def away(times: int) -> Iterator[JudeError]:
    return (TransientOnlineError("away") for _ in range(times))


def test_pauses_grow_until_it_works():
    drain = Waiting()
    assert patient(300, drain).wait_out(Failing(away(8)), batch=7) == "done"
    assert drain.waits == [0.5, 1, 2, 4, 8, 15, 15, 15]


def test_the_time_is_counted_from_the_first_failure_and_then_the_error_comes_out():
    drain, attempt = Waiting(), Failing(away(1000))
    with pytest.raises(TransientOnlineError):
        patient(10, drain).wait_out(attempt, batch=7)
    assert sum(drain.waits) == 7.5
    assert len(attempt.calls) == 5


def test_without_patience_the_first_failure_is_the_last():
    attempt = Failing(away(1))
    with pytest.raises(TransientOnlineError):
        patient(0, Waiting()).wait_out(attempt, batch=7)
    assert len(attempt.calls) == 1


def test_what_a_person_must_mend_is_not_tried_again():
    attempt = Failing(iter([TerminalTableError("of another version")]))
    with pytest.raises(TerminalTableError):
        patient(300, Waiting()).wait_out(attempt, batch=7)
    assert len(attempt.calls) == 1


def test_a_stop_ends_the_waiting_at_once():
    drain = Drain()
    threading.Timer(0.1, drain.ask).start()
    with pytest.raises(DrainedError):
        Patience(10_000, drain, jitter=lambda: 1_000.0).wait_out(Failing(away(1)), batch=7)
