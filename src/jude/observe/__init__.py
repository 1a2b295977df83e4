"""What a running JUDE says about itself: ledger, freshness, logs, progress.

In come counts, clocks and events of a batch; out go rows of the table `ledger` (refused when they do not add up), log
lines without personal text, and one line per batch for the person who watches.
"""

from jude.observe.freshness import Histogram, merged
from jude.observe.ledger import BatchCounts, ledger_rows
from jude.observe.logs import configure_logs, log_event
from jude.observe.progress import BatchReport, Progress, batch_line, duration, open_progress
from jude.observe.stopwatch import Stopwatch

__all__ = [
    "BatchCounts",
    "BatchReport",
    "Histogram",
    "Progress",
    "Stopwatch",
    "batch_line",
    "configure_logs",
    "duration",
    "ledger_rows",
    "log_event",
    "merged",
    "open_progress",
]
