"""Bulk replay: events per second of the whole job, and whether time and memory stay flat as the input grows."""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.changes.synthesis import EVENTS_PER_COPY, base_records, write_copies
from benchmarks.job.run import Result, profile, spawn
from benchmarks.measuring.machine import load, say
from benchmarks.measuring.processes import MIB, disk_bytes

SCALE_BUCKETS: Final = 64  # the same for both sizes: about 1,800 entities a copy
DRIVER_MEMORY: Final = "1g"


def events_per_second(
    shared: Path, *, events: int = EVENTS_PER_COPY, copies: int = 10, repeats: int = 3
) -> dict[str, float]:
    """Median over fresh processes; time counts from Spark being up to the last commit (tables are made in it)."""
    base = base_records(shared, events)
    rates, with_start = [], []
    for repeat in range(repeats):
        with tempfile.TemporaryDirectory(prefix="jude-bulk-") as folder:
            written = write_copies(base, Path(folder) / "changes", copies)
            result = spawn(Path(folder), {"spark.driver_memory": DRIVER_MEMORY}, written)
        job_seconds = result["open_seconds"] + result["stream_seconds"]
        rates.append(result["events"] / job_seconds)
        with_start.append(result["events"] / (job_seconds + result["spark_start_seconds"]))
        say(
            f"  bulk {repeat + 1}: {result['events']:,} events in {result['batches']} batches, {job_seconds:.2f} s = "
            f"{rates[-1]:,.0f} events/s ({with_start[-1]:,.0f} with Spark's start of "
            f"{result['spark_start_seconds']:.1f} s); {result['inferences']:,} inferences, "
            f"{result['processor']}; {load()}"
        )
        say(profile(result))
    return {
        "events_per_second": round(median(rates)),
        "events_per_second_with_spark_start": round(median(with_start)),
    }


def growth(shared: Path, *, scale: int = 100, events: int = EVENTS_PER_COPY) -> dict[str, float]:
    """Time per event of `scale` copies over that of one, streaming time only, with the same settings."""
    base = base_records(shared, events)
    small, large = (_sized(base, copies) for copies in (1, scale))
    per_event = [result["stream_seconds"] / result["events"] for result in (small, large)]
    ratio = per_event[1] / per_event[0]
    say(f"  time per event: {1e6 * per_event[0]:.0f} us at {small['events']:,} events, "
        f"{1e6 * per_event[1]:.0f} us at {large['events']:,}: ratio {ratio:.2f}")  # fmt: skip
    found = {f"time_per_event_ratio_{scale}x": round(ratio, 3)}
    if drift := late_over_early(large):
        say(f"  of the {large['batches']} triggers the last quarter took {drift:.2f} of what the second quarter took")
        found["late_trigger_ratio"] = round(drift, 3)
    return found


def late_over_early(result: Result) -> float | None:
    """Median trigger of the last quarter over that of the second: growth without the cold start, which hides it.

    None for less than 8 full triggers. The last trigger is left out, for it is not full.
    """
    full = [t["triggerExecution"] for t in result["triggers_ms"][:-1]]
    quarter = len(full) // 4
    if quarter < 2:
        return None
    return float(median(full[-quarter:]) / median(full[quarter : 2 * quarter]))


def _sized(base: list[dict[str, object]], copies: int) -> Result:
    with tempfile.TemporaryDirectory(prefix="jude-scale-") as name:
        folder = Path(name)
        events = write_copies(base, folder / "changes", copies)
        written = disk_bytes(folder / "changes")
        result = spawn(folder, {"spark.driver_memory": DRIVER_MEMORY, "tables.buckets": SCALE_BUCKETS}, events)
        tables, online = disk_bytes(folder / "tables"), disk_bytes(folder) - written
    peak = result["peak_mib"]
    say(
        f"  {copies} x: {result['events']:,} events, {result['inferences']:,} inferences, {result['batches']} batches "
        f"in {result['stream_seconds']:.1f} s = {result['events'] / result['stream_seconds']:,.0f} events/s; "
        f"{result['processor']}; {load()}"
    )
    say(f"    disk: changes {written / MIB:,.0f} MiB, tables {tables / MIB:,.0f} MiB, "
        f"with online store and checkpoint {online / MIB:,.0f} MiB")  # fmt: skip
    say(f"    peak memory: Python {peak['python']:,.0f} MiB, JVM {peak['jvm']:,.0f} MiB, "
        f"Python workers {peak['workers']:,.0f} MiB")  # fmt: skip
    for at, memory in result["memory_by_quarter"]:
        say(f"    after {at:>9,} events: {memory}")
    say(profile(result))
    return result
