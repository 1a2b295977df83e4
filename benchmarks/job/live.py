"""Live micro-batches of 20 changes over tables that already hold many entities: how long one trigger takes."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson

from benchmarks.changes.streams import Record
from benchmarks.changes.synthesis import base_records
from benchmarks.job.run import CONF, Result, profile, spawn
from benchmarks.job.seeding import SEED_LSN, TOPIC, entity_id, seed
from benchmarks.measuring.machine import load, say
from jude.settings import load_settings
from jude.stream.opening import open_pipeline

CHANGES: Final = 20
WARM_UP: Final = {"native": 10, "spark": 10}
MEASURED: Final = {"native": 60, "spark": 30}
ENTITIES: Final = 10_000
MANY_ENTITIES: Final = 1_000_000
BUCKETS: Final = 256
Milliseconds = list[float]


def latency(shared: Path, *, writers: Sequence[str] = ("native", "spark"), many: int = MANY_ENTITIES,
            buckets: int = BUCKETS, measured: int | None = None) -> dict[str, float]:  # fmt: skip
    """Percentiles of whole triggers, as Spark's own progress reports them, after warm-up. `many` 0: no ratio."""
    rows = _long_rows(shared)
    found: dict[str, float] = {}
    for writer in writers:
        triggers = _run(rows, writer, ENTITIES, buckets, measured or MEASURED[writer])
        prefix = "batch" if writer == "native" else "spark_batch"
        for percentile in (50, 95):
            found[f"{prefix}_p{percentile}_seconds"] = _percentile(triggers, percentile)
    if many and "native" in writers:
        triggers = _run(rows, "native", many, buckets, measured or MEASURED["native"])
        ratio = _percentile(triggers, 50) / found["batch_p50_seconds"]
        found[f"batch_p50_ratio_{_short(many)}"] = round(ratio, 3)
    return found


def _run(rows: Sequence[dict[str, Any]], writer: str, entities: int, buckets: int, measured: int) -> Milliseconds:
    """Seed, stream, measure; gives the milliseconds of every measured trigger."""
    batches = WARM_UP[writer] + measured
    with tempfile.TemporaryDirectory(prefix="jude-live-") as name:
        folder = Path(name)
        _seed(folder, entities, buckets)
        write_changes(rows, folder / "changes", entities, batches * CHANGES)
        overrides = {
            "source.max_offsets_per_trigger": CHANGES,
            "tables.writer": writer,
            "tables.buckets": buckets,
        }
        result = spawn(folder, overrides, batches * CHANGES)
    triggers = measured_triggers(result, batches, WARM_UP[writer])
    say(
        f"  {writer}, {entities:,} entities in {buckets} buckets: {len(triggers)} triggers of {CHANGES} text changes, "
        f"p50 {_percentile(triggers, 50):.3f} s, p95 {_percentile(triggers, 95):.3f} s, "
        f"max {max(triggers) / 1000:.3f} s; {load()}"
    )
    say(profile(result, WARM_UP[writer]))
    return triggers


def measured_triggers(result: Result, batches: int, warm_up: int) -> Milliseconds:
    """Whole triggers without the warm-up. Raises RuntimeError when the stream was cut otherwise than asked for."""
    if len(result["triggers_ms"]) != batches or result["inferences"] != batches * CHANGES:
        raise RuntimeError(
            f"{len(result['triggers_ms'])} triggers with {result['inferences']} inferences were run, "
            f"{batches} with {CHANGES} each were wanted"
        )
    return [float(t["triggerExecution"]) for t in result["triggers_ms"][warm_up:]]


def _seed(folder: Path, entities: int, buckets: int) -> None:
    settings = load_settings(
        CONF,
        [f"tables.root={folder / 'tables'}", f"tables.buckets={buckets}", f"online.path={folder / 'online.sqlite'}",
         f"stream.checkpoint={folder / 'checkpoint'}"],
    )  # fmt: skip
    pipeline = open_pipeline(settings)
    try:
        seed(pipeline, entities, buckets)
    finally:
        pipeline.online.close()


def _long_rows(shared: Path) -> list[dict[str, Any]]:
    """Real member rows whose long texts were sent."""
    values = [r["value"] for r in base_records(shared) if r["topic"] == TOPIC and r["value"]]
    return [value["after"] for value in values if value["op"] in ("c", "r")]


def write_changes(rows: Sequence[dict[str, Any]], folder: Path, entities: int, changes: int) -> None:
    """Write updates of random seeded entities: each gives its entity a new text, the dearest case.

    `changes`: a multiple of 20; the keys of one batch differ, so that none overtakes another.
    """
    folder.mkdir(parents=True)
    chance = random.Random(7)
    lines = []
    keys = (k for _ in range(0, changes, CHANGES) for k in chance.sample(range(entities), CHANGES))
    for number, key in enumerate(map(entity_id, keys)):
        row = rows[number % len(rows)]
        after = {**row, "id": key, "headline": f"{row['headline']} {number}"}
        lines.append(orjson.dumps(_record(key, after, number + 1)))
    (folder / "00000.jsonl").write_bytes(b"\n".join(lines) + b"\n")


def _record(key: str, after: dict[str, Any], number: int) -> Record:
    at_ms = 1_780_000_000_000 + 1000 * number
    source = {"lsn": SEED_LSN + 8 * number, "txId": number, "ts_ms": at_ms, "snapshot": "false"}
    value = {"op": "u", "before": None, "after": after, "source": source, "transaction": None, "ts_ms": at_ms}
    return {
        "topic": TOPIC, "partition": 0, "offset": number, "timestamp": at_ms, "headers": {}, "key": {"id": key},
        "value": value,
    }  # fmt: skip


def _percentile(triggers: Milliseconds, percentile: int) -> float:
    return round(float(np.percentile(triggers, percentile)) / 1000, 3)


def _short(entities: int) -> str:
    return f"{entities // 1_000_000}m" if entities % 1_000_000 == 0 else f"{entities}"
