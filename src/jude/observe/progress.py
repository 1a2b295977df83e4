"""What a person watching a run sees: one line per batch."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Protocol, TextIO

from jude.observe.freshness import Histogram
from jude.observe.ledger import BatchCounts


@dataclass(frozen=True, slots=True)
class BatchReport:
    """A finished batch: counts over all entity types, of one model version."""

    batch: int
    counts: BatchCounts
    freshness: Histogram
    seconds: float


class Progress(Protocol):
    """Something that shows finished batches."""

    def show(self, report: BatchReport) -> None:
        """Show one batch."""
        ...


def batch_line(report: BatchReport) -> str:
    """Say what a batch did: batch, events, skipped share, inferences, freshness p95, events per second."""
    counts = report.counts
    skipped = 100 * counts.skipped / counts.events_in if counts.events_in else 0.0
    speed = counts.events_in / report.seconds if report.seconds > 0 else 0.0
    line = (
        f"batch {report.batch:>5}  {counts.events_in:>7,} events  {skipped:>3.0f}% skipped"
        f"  {counts.inferences:>6,} inferences  fresh p95 {duration(report.freshness.percentile(0.95)):>7}"
        f"  {speed:>7,.0f} events/s"
    )
    return line + (f"  {counts.quarantined:,} quarantined" if counts.quarantined else "")


def duration(seconds: float | None) -> str:
    """Write seconds for people: 12 ms, 1.4 s, 3.0 min, 5.2 h, 2.1 d; `-` for None."""
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for limit, unit_seconds, unit in ((60, 1, "s"), (3600, 60, "min"), (86400, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit_seconds:.1f} {unit}"
    return f"{seconds / 86400:,.1f} d"


class PlainProgress:
    """A plain line per batch, for logs, pipes and tests."""

    def __init__(self, stream: TextIO) -> None:
        """Write to `stream`, flushed after every line."""
        self._stream = stream

    def show(self, report: BatchReport) -> None:
        """Write the line of one batch."""
        print(batch_line(report), file=self._stream, flush=True)


class RichProgress:
    """The same lines with colour: quiet where nothing was to do, red where records went to quarantine."""

    def __init__(self, stream: TextIO) -> None:
        """Write to a terminal."""
        from rich.console import Console

        self._console = Console(file=stream, highlight=False, soft_wrap=True)

    def show(self, report: BatchReport) -> None:
        """Write the line of one batch."""
        counts = report.counts
        style = "red" if counts.quarantined else "green" if counts.inferences else "dim"
        self._console.print(batch_line(report), style=style, markup=False)


def open_progress(stream: TextIO = sys.stderr) -> Progress:
    """Choose colour on a terminal, plain lines elsewhere."""
    return RichProgress(stream) if stream.isatty() else PlainProgress(stream)
