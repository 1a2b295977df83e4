"""One real streaming job in a process of its own: `python -m benchmarks.job.run CONF RESULT.json [--set a.b=c ...]`.

It does what jobs/embed_stream.py does with the trigger available_now, and writes down how long each part took, what
Spark says of every trigger, and the memory of all processes. `spawn` starts it and reads the result.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, Final

import orjson

from benchmarks import PROJECT
from benchmarks.measuring.machine import Progress
from benchmarks.measuring.processes import MemoryWatch, memory, processor
from jude.settings import Settings, load_settings
from jude.stream.micro_batch import Applied

CONF: Final = PROJECT / "conf" / "test.yml"
_KEPT_PROGRESS: Final = 100_000
Result = dict[str, Any]


def spawn(folder: Path, overrides: Mapping[str, object], events: int = 0) -> Result:
    """Run the job over `folder`/changes into new tables of `folder`, in a new process.

    Raises CalledProcessError when the job failed; its log is on stderr.
    """
    result = folder / "result.json"
    command = [sys.executable, "-m", "benchmarks.job.run", str(CONF), str(result), "--events", str(events)]
    for override in overrides_of(folder, overrides):
        command += ["--set", override]
    subprocess.run(command, cwd=PROJECT, check=True)
    return dict(orjson.loads(result.read_bytes()))


def overrides_of(folder: Path, overrides: Mapping[str, object]) -> list[str]:
    """The settings of a job that keeps everything under one folder."""
    places = {
        "source.path": folder / "changes",
        "stream.checkpoint": folder / "checkpoint",
        "tables.root": folder / "tables",
        "online.path": folder / "online.sqlite",
        "log.level": "WARNING",
        "spark.driver_memory": "1g",
        "spark.extra.spark.driver.extraJavaOptions": "''",  # as deployed: test.yml spares short runs the JVM's compiler
    }
    return ["stream.trigger=available_now", *(f"{key}={value}" for key, value in {**places, **overrides}.items())]


def run(settings: Settings, events: int) -> Result:
    """Start Spark, open everything, stream all that is there."""
    from jude.changes.sources import read_changes
    from jude.stream.checkpoint import locked
    from jude.stream.drain import Drain, wait_for
    from jude.stream.opening import open_pipeline
    from jude.stream.query import stream_embeddings
    from jude.stream.run import start_spark

    clock = time.monotonic
    moments = [clock()]
    follower = _Follower(events)
    with MemoryWatch() as watch, locked(settings.stream.checkpoint):
        spark = start_spark(settings)
        spark.range(1).count()  # started means able to run a query
        spark.conf.set("spark.sql.streaming.numRecentProgressUpdates", str(_KEPT_PROGRESS))
        moments.append(clock())
        before = processor()
        pipeline = open_pipeline(settings, spark)
        moments.append(clock())
        try:
            drain = Drain()
            query = stream_embeddings(read_changes(spark, settings.source), pipeline, settings, drain, follower.report)
            wait_for(query, drain)
        finally:
            pipeline.online.close()
        moments.append(clock())
        used = processor().since(before)
        triggers = [dict(progress.durationMs) for progress in query.recentProgress if progress.numInputRows > 0]
    start, opening, streaming = (later - earlier for earlier, later in pairwise(moments))
    return {
        "spark_start_seconds": start,
        "open_seconds": opening,
        "stream_seconds": streaming,
        "processor": str(used),  # from Spark being up to the last commit
        "triggers_ms": triggers,
        "peak_mib": {name: getattr(watch.peak, name) for name in watch.peak.__slots__},
        **follower.as_result(),
    }


class _Follower:
    """What the committed batches did; memory at each quarter of the way."""

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._progress = Progress("events", expected)
        self.events = self.inferences = self.tokens = 0
        self.stages: list[dict[str, float]] = []
        self.quarters: list[tuple[int, str]] = []

    def report(self, applied: Applied) -> None:
        for counts in applied.counts.values():
            self.events += counts.events_in
            self.inferences += counts.inferences
            self.tokens += counts.tokens
        self.stages.append(applied.seconds)
        self._progress.at(self.events)
        if self._expected and self.events >= (len(self.quarters) + 1) * self._expected / 4:
            self.quarters.append((self.events, str(memory())))

    def as_result(self) -> Result:
        return {
            "events": self.events,
            "inferences": self.inferences,
            "tokens": self.tokens,
            "batches": len(self.stages),
            "stages_seconds": self.stages,
            "memory_by_quarter": self.quarters,
        }


def profile(result: Result, skip: int = 0) -> str:
    """Where the time goes: medians per trigger by Spark's own progress, and per stage of the batch, in ms."""
    triggers, stages = result["triggers_ms"][skip:], result["stages_seconds"][skip:]
    spark = {name: median(t.get(name, 0) for t in triggers) for name in triggers[0]} if triggers else {}
    parts = {name: 1000 * median(s.get(name, 0) for s in stages) for name in stages[0]} if stages else {}
    return f"    trigger: {_line(spark)}\n    batch:   {_line(parts)}"


def _line(parts: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {ms:.0f}" for name, ms in sorted(parts.items(), key=lambda p: -p[1]) if ms >= 0.5)


def main(argv: Sequence[str] | None = None) -> None:
    """Run one job and write its result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.job.run")
    parser.add_argument("conf", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--events", type=int, default=0, help="how many are expected, for the progress only")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    given = parser.parse_args(argv)
    settings = load_settings(given.conf, given.overrides)
    given.result.write_bytes(orjson.dumps(run(settings, given.events)))


if __name__ == "__main__":
    main()
