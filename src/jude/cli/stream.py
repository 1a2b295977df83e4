"""`jude stream run`: the job of jobs/embed_stream.py with one line per batch for the person who watches."""

from __future__ import annotations

from jude.cli.failing import hush_spark, sentence_of
from jude.cli.show import open_console
from jude.errors import JudeError, TerminalError
from jude.observe import BatchCounts, BatchReport, merged, open_progress
from jude.settings import Settings
from jude.stream.micro_batch import Applied
from jude.stream.run import run_stream


def stream_with_progress(settings: Settings) -> None:
    """Run the job until stopped, or until all is processed. Raises JudeError, Spark's own errors as one too."""
    from pyspark.errors import PySparkException

    hush_spark()
    open_console(stderr=True).print("Starting Spark and the model; then a line for each batch. Ctrl-C ends after it.")
    progress, batches = open_progress(), 0

    def report(applied: Applied) -> None:
        nonlocal batches
        batches += 1
        progress.show(batch_report(applied))

    try:
        run_stream(settings, report)
    except JudeError:
        raise
    except PySparkException as error:
        raise TerminalError(f"The stream ended: {sentence_of(error)}") from error
    if not batches:
        open_console(stderr=True).print("Nothing was new: all that the source holds had been processed before.")


def batch_report(applied: Applied) -> BatchReport:
    """Sum a batch over its entity types."""
    counts = sum(applied.counts.values(), BatchCounts())
    seconds = sum(applied.seconds.values())
    return BatchReport(applied.txn.version, counts, merged(applied.freshness.values()), seconds)
