"""The live part: recorded changes get the time of now and arrive as small files while the stream runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from pyspark.sql import SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from jude.changes.sources import read_changes
from jude.cli.demo.progress import Tally
from jude.cli.demo.recording import Record, restamped, write_file
from jude.settings import Settings
from jude.stream.drain import Drain, wait_for
from jude.stream.micro_batch import Applied
from jude.stream.pipeline import Pipeline
from jude.stream.query import stream_embeddings

RECORDS_PER_FILE: Final = 8
SECONDS_BETWEEN_FILES: Final = 0.5
PATIENCE_SECONDS: Final = 60.0
"""How long the stream may take for the last live changes; then the demo ends with what there is."""
_POLL_SECONDS: Final = 0.05


def stream_live(
    spark: SparkSession,
    settings: Settings,
    pipeline: Pipeline,
    live: Sequence[Record],
    on_batch: Callable[[Tally], None],
) -> tuple[Tally, bool]:
    """Run the stream by processing time while `live` arrives; gives what it did, and whether a person stopped it."""
    tally, drain, stop = Tally(), Drain(), threading.Event()
    drain.on_sigterm(spark)

    def add(applied: Applied) -> None:
        tally.add(applied)
        on_batch(tally)

    stream = replace(settings.stream, trigger="processing_time", interval_seconds=0.0)
    continuous = replace(settings, stream=stream)
    query = stream_embeddings(read_changes(spark, settings.source), pipeline, continuous, drain, add)
    _wait_until(lambda: drain.asked or _is_waiting(query), query)
    feeder = threading.Thread(target=feed, args=(live, Path(str(settings.source.path)), stop), daemon=True)
    feeder.start()
    try:
        _wait_until(lambda: drain.asked or tally.records >= len(live), query)
    finally:
        stop.set()
        feeder.join()
        stopped_by_person = drain.asked
        drain.ask()
        wait_for(query, drain)
    return tally, stopped_by_person


def feed(live: Sequence[Record], folder: Path, stop: threading.Event) -> None:
    """Drop the changes into the watched folder, a few per file, each stamped with the moment of its file."""
    for number, first in enumerate(range(0, len(live), RECORDS_PER_FILE)):
        if stop.is_set():
            return
        now_ms = time.time_ns() // 1_000_000
        records = [restamped(record, now_ms) for record in live[first : first + RECORDS_PER_FILE]]
        write_file(folder, f"live-{number:04}.jsonl", records)
        stop.wait(SECONDS_BETWEEN_FILES)


def _is_waiting(query: StreamingQuery) -> bool:
    """Tell whether the stream has looked for changes and found none: from here on it is as fast as it will be."""
    return bool("Waiting for" in query.status["message"])


def _wait_until(reached: Callable[[], bool], query: StreamingQuery) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while query.isActive and not reached() and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
