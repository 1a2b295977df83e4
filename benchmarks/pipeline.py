"""How fast the whole pipeline is: `python -m benchmarks.pipeline [bulk|scale|model|live ...]`, all by default.

Every figure comes from the real streaming job (file source, local[2], native writer, hashing encoder unless said), in
a process of its own, with new tables in a temporary folder that is removed afterwards.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.changes.streams import SHARED
from benchmarks.changes.synthesis import EVENTS_PER_COPY
from benchmarks.job import bulk, live, model_share
from benchmarks.measuring.machine import describe, load, say

STEPS = ("bulk", "scale", "model", "live")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the steps asked for; the last line is one JSON object with what was measured."""
    given = _arguments(argv)
    say(describe())
    steps: dict[str, Callable[[], dict[str, float]]] = {
        "bulk": lambda: bulk.events_per_second(
            given.shared, events=given.events, copies=given.copies, repeats=given.repeats
        ),
        "scale": lambda: bulk.growth(given.shared, scale=given.scale, events=given.events),
        "model": lambda: model_share.throughput_share(given.shared, texts=given.texts, repeats=given.model_repeats),
        "live": lambda: live.latency(
            given.shared, writers=given.writer or ("native", "spark"), many=given.many, buckets=given.buckets,
            measured=given.batches,
        ),
    }  # fmt: skip
    found: dict[str, float] = {}
    for name in given.steps or STEPS:
        say(f"\n{name}")
        found |= steps[name]()
    say(f"\nAt the end: {load()}")
    print(json.dumps(found), flush=True)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pipeline", description=__doc__.split("\n")[0])
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"{', '.join(STEPS)}; all if none is named")
    parser.add_argument("--shared", type=Path, default=SHARED, help="folder of the histories (default: %(default)s)")
    parser.add_argument("--events", type=int, default=EVENTS_PER_COPY, help="bulk, scale: events of one copy")
    parser.add_argument("--copies", type=int, default=10, help="bulk: copies by new keys (default: 10)")
    parser.add_argument("--repeats", type=int, default=3, help="bulk: fresh processes (default: 3)")
    parser.add_argument("--scale", type=int, default=100, help="scale: copies; the key says so (default: 100)")
    parser.add_argument("--texts", type=int, default=8_000, help="model: distinct texts (default: 8,000)")
    parser.add_argument("--model-repeats", type=int, default=2, help="model: pairs of job and bare loop (default: 2)")
    parser.add_argument("--writer", action="append", choices=("native", "spark"), help="live: only this writer")
    parser.add_argument("--many", type=int, default=live.MANY_ENTITIES, help="live: the larger tables; 0: not")
    parser.add_argument("--buckets", type=int, default=live.BUCKETS, help="live: buckets, for both sizes")
    parser.add_argument("--batches", type=int, help="live: triggers measured (default: 60 native, 30 Spark)")
    given = parser.parse_args(argv)
    if unknown := set(given.steps) - set(STEPS):
        parser.error(f"no such step: {', '.join(sorted(unknown))}; there are {', '.join(STEPS)}")
    return given


if __name__ == "__main__":
    main()
