"""What a person sees while the demo works: a bar on a terminal, a line per batch in a pipe."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Final

from jude.cli.stream import batch_report
from jude.observe import BatchCounts, Histogram, duration, merged
from jude.stream.micro_batch import Applied

if TYPE_CHECKING:
    from rich.console import Console

_BAR_COLUMNS: Final = 24


@dataclass(slots=True)
class Tally:
    """What the batches of one part did, added up. Batches arrive on Spark's thread."""

    counts: BatchCounts = field(default_factory=BatchCounts)
    freshness: Histogram = field(default_factory=Histogram)
    encode_seconds: float = 0.0
    batches: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, applied: Applied) -> None:
        """Add one batch."""
        report = batch_report(applied)
        with self.lock:
            self.counts += report.counts
            self.freshness = merged([self.freshness, report.freshness])
            self.encode_seconds += applied.seconds.get("encode", 0.0)
            self.batches += 1

    @property
    def records(self) -> int:
        """Give the records read, heartbeats and transaction markers too."""
        return self.counts.events_in + self.counts.control

    @property
    def texts_per_second(self) -> float:
        """Give the speed of the encoder, the look into the store included."""
        return self.counts.inferences / self.encode_seconds if self.encode_seconds else 0.0

    @property
    def tokens_per_second(self) -> float:
        """Give the same in tokens."""
        return self.counts.tokens / self.encode_seconds if self.encode_seconds else 0.0


class ReplayProgress:
    """Shows how far a replay of `total` records is; used as a context and as the report of a stream."""

    def __init__(self, console: Console, total: int) -> None:
        """Begin with nothing done."""
        from rich.progress import BarColumn, Progress, TextColumn

        self.tally = Tally()
        self._console, self._total, self._began = console, total, monotonic()
        columns = (BarColumn(_BAR_COLUMNS), TextColumn("{task.description}"))
        self._bar = Progress(*columns, console=console, transient=True) if console.is_terminal else None
        self._task = self._bar.add_task("starting", total=total) if self._bar else None

    def __enter__(self) -> ReplayProgress:
        """Start the bar."""
        self._began = monotonic()
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away; what it said last stays as a line."""
        if self._bar:
            self._bar.stop()
            self._console.print(self.line())

    def __call__(self, applied: Applied) -> None:
        """Show one more batch."""
        self.tally.add(applied)
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=self.tally.records, description=self.line())
        else:
            self._console.print(self.line())

    def line(self) -> str:
        """Say events done, share skipped, inferences, speed and the time that is left."""
        tally, counts = self.tally, self.tally.counts
        skipped = 100 * counts.skipped / counts.events_in if counts.events_in else 0.0
        passed = monotonic() - self._began
        left = passed / tally.records * (self._total - tally.records) if tally.records else 0.0
        known = f"about {duration(left)} left" if tally.batches > 1 else ""  # the first batch starts everything
        ending = known if tally.records < self._total else f"done in {duration(passed)}"
        return (
            f"{tally.records:,}/{self._total:,}  {skipped:.0f}% skipped  {counts.inferences:,} embedded"
            f"  {tally.texts_per_second:,.0f} texts/s  {ending}"
        )
