"""From the commit in PostgreSQL to readable in Redis and visible in Delta, on the real chain with the real model.

    python -m benchmarks.freshness [--changes 5000] [--rate 20] [--writer native]

10,000 entities are loaded and embedded by the stream itself, which is not measured; they share the texts of a few
hundred members, which saves minutes. Then rows get texts that were never there, at a steady rate. The figures are from
embedding_history: `source_ts` is the database's commit time (milliseconds) as Debezium read it from the log,
`available_at` the moment before the put that Redis acknowledged (a put of 20 vectors takes about a millisecond);
visible in Delta is the time of the commit file of embedding_current.
"""

from __future__ import annotations

import argparse
import bisect
import itertools
import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.changes.edits import load_entities, new_texts, play, real_mix
from benchmarks.measuring.machine import describe, load, say
from deploy.live.compare import wait_until_equal
from deploy.live.source import Source
from deploy.live.stream import PROJECT, SupervisedStream
from deploy.stack.stack import Stack
from jude.errors import JudeError
from jude.settings import Settings, load_settings
from jude.tables.reading import read

WARM_UP_SECONDS: Final = 20
PATIENCE_SECONDS: Final = 900.0
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure; the last line is one JSON object."""
    given = _arguments(argv)
    say(describe())
    found: dict[str, float] = {}
    for writer in given.writer or ("native",):
        stack = Stack(PROJECT / ".jude" / "bench-freshness", say=say)
        stack.down(remove=True)  # each writer begins with an empty database and empty topics
        try:
            stack.up()
            found |= _measure(stack, writer, given)
        finally:
            stack.down(remove=True)
    say(f"At the end: {load()}")
    print(json.dumps(found), flush=True)


def _measure(stack: Stack, writer: str, given: argparse.Namespace) -> dict[str, float]:
    work = stack.folder / writer
    work.mkdir()
    overrides = (f"tables.writer={writer}", f"tables.root={work}/tables", f"stream.checkpoint={work}/checkpoint",
                 f"online.redis.prefix={writer}", f"output.topic=out.{writer}", "source.max_offsets_per_trigger=2000",
                 *given.set)  # fmt: skip
    stream = SupervisedStream(stack.conf, work / "stream.log", overrides)
    settings = load_settings(stack.conf, overrides)
    source = Source(stack.database_url)
    short = "" if writer == "native" else f"{writer}_"
    load_entities(source, given.entities)
    stream.start()
    try:
        began = time.monotonic()
        _wait_for_vectors(settings, EPOCH, given.entities)
        _settle(stack, settings)
        say(f"{given.entities:,} entities are embedded after {time.monotonic() - began:.0f} s")
        found = _steady(stack, settings, source, given, given.rate, given.changes, text=True, prefix=short)
        if writer == "native" and given.changes_at_100:
            fast = _steady(stack, settings, source, given, 100.0, given.changes_at_100, text=False, prefix="")
            found["p95_seconds_100eps"] = fast["p95_seconds"]
            found |= _burst(stack, settings, source, given)
    finally:
        stream.stop()
    return found


def _steady(
    stack: Stack, settings: Settings, source: Source, given: argparse.Namespace, rate: float, changes: int, *,
    text: bool, prefix: str,
) -> dict[str, float]:  # fmt: skip
    """Change rows at a rate, one transaction each. `text`: every change is a new text; else the history's own mix."""
    edits = new_texts(given.entities) if text else real_mix()
    warm_up = int(WARM_UP_SECONDS * rate)
    play(source, edits, rate, warm_up)
    began = datetime.now(UTC)
    play(source, edits, rate, changes)
    _settle(stack, settings)
    rows = [r for r in _served(settings) if r["source_ts"] >= began]
    online = [(r["available_at"] - r["source_ts"]).total_seconds() for r in rows if r["available_at"]]
    visible = _visible(settings, rows)
    say(f"{rate:.0f} changes/s, {changes:,} changes: {len(online):,} new vectors; {load()}")
    found = {}
    for percent in (50, 95, 99):
        found[f"{prefix}p{percent}_seconds"] = round(float(np.percentile(online, percent)), 3)
        found[f"{prefix}delta_p{percent}_seconds"] = round(float(np.percentile(visible, percent)), 3)
    say(json.dumps(found))
    _profile(_batches(settings, began))
    return found


def _burst(stack: Stack, settings: Settings, source: Source, given: argparse.Namespace) -> dict[str, float]:
    """1,000 rows get a new text in one transaction: seconds until the last is readable, and of encoding alone."""
    edits = list(itertools.islice(new_texts(given.entities), 1000))
    began = datetime.now(UTC)
    source.play(edits)
    _wait_for_vectors(settings, began, len({record["key"]["id"] for record in edits}))
    _settle(stack, settings)
    rows = [r for r in _served(settings) if r["source_ts"] >= began]
    seconds = [(r["available_at"] - r["source_ts"]).total_seconds() for r in rows if r["available_at"]]
    encode = sum(stages["encode"] for _, _, stages in _batches(settings, began))
    say(f"burst: {len(rows)} new vectors readable after {max(seconds):.2f} s, of which encoding {encode:.2f} s")
    return {"burst_1000_seconds": round(max(seconds), 2), "burst_1000_encode_seconds": round(encode, 2)}


def _batches(settings: Settings, since: datetime) -> list[tuple[datetime, int, dict[str, float]]]:
    """When each batch began, its events, and its seconds per stage (which stand on each of its rows)."""
    rows = read(str(settings.tables.root), "ledger", ["started_at", "events_in", "seconds"]).to_pylist()
    found: dict[datetime, tuple[int, dict[str, float]]] = {}
    for row in rows:
        events = found.get(row["started_at"], (0, {}))[0] + row["events_in"]
        if row["started_at"] >= since:
            found[row["started_at"]] = (events, dict(row["seconds"]))
    return sorted((began, events, stages) for began, (events, stages) in found.items())


def _profile(batches: Sequence[tuple[datetime, int, dict[str, float]]]) -> None:
    """Say where the time of a batch goes, in medians; what is not in a stage is Spark's."""
    if len(batches) < 2:
        return
    events = float(np.median([each[1] for each in batches]))
    starts = [began.timestamp() for began, _, _ in batches]
    period = float(np.median(np.diff(starts)))
    stages = {name: float(np.median([each[2].get(name, 0.0) for each in batches])) for name in batches[-1][2]}
    shown = ", ".join(f"{name} {1000 * seconds:.0f}" for name, seconds in stages.items())
    say(f"{len(batches)} batches of {events:.0f} events, one every {1000 * period:.0f} ms: {shown}")


def _wait_for_vectors(settings: Settings, since: datetime, count: int) -> None:
    """Wait until so many vectors of changes since then were served; a look costs little, a comparison does not."""
    end = time.monotonic() + PATIENCE_SECONDS
    while sum(row["source_ts"] >= since for row in _served(settings)) < count:
        if time.monotonic() > end:
            raise RuntimeError(f"fewer than {count} vectors were served")
        time.sleep(1.0)


def _settle(stack: Stack, settings: Settings) -> None:
    compared = wait_until_equal(stack.database_url, settings, PATIENCE_SECONDS)
    if compared.differences:
        raise RuntimeError(f"the stream did not catch up: {compared.differences}")


def _served(settings: Settings) -> list[dict[str, Any]]:
    columns = ["source_ts", "available_at"]
    try:
        rows: list[dict[str, Any]] = read(str(settings.tables.root), "embedding_history", columns).to_pylist()
    except JudeError:  # the stream has not made its tables yet
        return []
    return rows


def _visible(settings: Settings, rows: list[dict[str, Any]]) -> list[float]:
    """Seconds from the source's commit to the commit file of embedding_current that made the row visible.

    That is the next one after the row was readable online: the MERGE is the last write of its batch.
    """
    log = Path(str(settings.tables.root)) / "embedding_current" / "_delta_log"
    commits = sorted(file.stat().st_mtime for file in log.glob("*.json"))
    served = [(r["available_at"].timestamp(), r["source_ts"].timestamp()) for r in rows if r["available_at"]]
    places = ((bisect.bisect_left(commits, available), source) for available, source in served)
    return [commits[place] - source for place, source in places if place < len(commits)] or [float("nan")]


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.freshness", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--entities", type=int, default=10_000, help="rows in the database (default: %(default)s)")
    parser.add_argument("--changes", type=int, default=5_000, help="measured changes (default: %(default)s)")
    parser.add_argument(
        "--changes-at-100",
        type=int,
        default=6_000,
        help="those at 100/s, 0: neither these nor the burst (default: %(default)s)",
    )
    parser.add_argument("--rate", type=float, default=20.0, help="changes per second (default: %(default)s)")
    parser.add_argument("--writer", action="append", choices=("native", "spark"), help="native unless named")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=c", help="override a setting of the stream")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
