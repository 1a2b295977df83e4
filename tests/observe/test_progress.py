from __future__ import annotations

import io

import pytest

from jude.observe import BatchCounts, BatchReport, Histogram, batch_line, duration, open_progress
from jude.observe.progress import PlainProgress, RichProgress
from jude.observe.stopwatch import Stopwatch

COUNTS = BatchCounts(events_in=1000, unchanged=700, unchanged_columns=700, changed=299, inferences=299, quarantined=1)
REPORT = BatchReport(batch=12, counts=COUNTS, freshness=Histogram({76: 10}), seconds=0.5)
LINE = (
    "batch    12    1,000 events   70% skipped     299 inferences  fresh p95   1.3 s    2,000 events/s  1 quarantined"
)


def test_a_batch_is_one_line() -> None:
    assert batch_line(REPORT) == LINE


def test_an_empty_batch_divides_by_nothing() -> None:
    line = batch_line(BatchReport(0, BatchCounts(), Histogram(), 0.0))
    assert " ".join(line.split()) == "batch 0 0 events 0% skipped 0 inferences fresh p95 - 0 events/s"


def test_elsewhere_lines_are_plain() -> None:
    stream = io.StringIO()
    progress = open_progress(stream)
    assert isinstance(progress, PlainProgress)
    progress.show(REPORT)
    assert stream.getvalue() == LINE + "\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    progress = open_progress(stream)
    assert isinstance(progress, RichProgress)
    progress.show(REPORT)
    assert LINE in stream.getvalue()
    assert stream.getvalue().startswith("\x1b[31m")  # red: one record went to quarantine


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(None, "-"), (0.0123, "12 ms"), (1.44, "1.4 s"), (180, "3.0 min"), (5.2 * 3600, "5.2 h"), (2.06 * 86400, "2.1 d")],
)
def test_durations_for_people(seconds: float | None, written: str) -> None:
    assert duration(seconds) == written


def test_stages_add_up_even_when_they_fail() -> None:
    ticks = iter([0.0, 1.0, 5.0, 5.5, 7.0, 9.0])
    watch = Stopwatch(clock=lambda: next(ticks))
    with watch.stage("plan"):
        pass
    with watch.stage("encode"):
        pass
    with pytest.raises(RuntimeError), watch.stage("plan"):
        raise RuntimeError
    assert watch.seconds == {"plan": 3.0, "encode": 0.5}


def test_stages_do_not_nest() -> None:
    watch = Stopwatch(clock=lambda: 0.0)
    with pytest.raises(ValueError, match="inside stage 'plan'"), watch.stage("plan"), watch.stage("encode"):
        pass
