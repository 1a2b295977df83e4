"""`make demo-live`: PostgreSQL -> Debezium -> Kafka -> Spark -> Delta, Redis and a topic, killed in the middle.

python -m deploy.live.demo [--seconds 60] [--rate 20] [--keep] [--encoder grpc]
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.table import Table

from deploy.live.compare import Compared, wait_until_equal
from deploy.live.source import Record, Source, read_history
from deploy.live.stream import PROJECT, SupervisedStream
from deploy.stack.programs import MissingProgramError
from deploy.stack.stack import Stack, StackError
from jude.errors import JudeError
from jude.observe import BatchCounts, Histogram, duration, merged
from jude.serving.child import serving
from jude.settings import load_settings
from jude.tables.reading import ledger_totals

FOLDER: Final = PROJECT / ".jude" / "demo-live"
LOADED: Final = 2_500  # recorded changes that make the database before the stream starts
PATIENCE_SECONDS: Final = 240.0


@dataclass
class Seen:
    """What the screen shows."""

    committed: int = 0  # changes that PostgreSQL has committed since the stream caught up
    counts: BatchCounts = field(default_factory=BatchCounts)  # as they were when the stream had caught up
    freshness: Histogram = field(default_factory=Histogram)
    note: str = ""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; 0 where everything was equal in the end."""
    given = _arguments(argv)
    console = Console()
    stack = Stack(FOLDER, say=lambda line: console.print(f"   {line}", highlight=False))
    stack.down(remove=True)
    stream: SupervisedStream | None = None
    beside = ExitStack()
    try:
        console.print("1. PostgreSQL, Kafka, Debezium and Redis on this machine.")
        stack.up()
        overrides: tuple[str, ...] = ()
        if given.encoder == "grpc":
            overrides = beside.enter_context(serving(stack.conf)).overrides()
            console.print("   The model runs in an embedding server beside them.")
        stream = SupervisedStream(stack.conf, stack.folder / "logs" / "stream.log", overrides)
        return _show(stack, stream, given, console)
    except (MissingProgramError, StackError, JudeError) as error:
        console.print(str(error), style="red", highlight=False)
        return 1
    finally:
        if stream is not None:
            stream.stop()
        beside.close()
        stack.down(remove=not given.keep)


def _show(stack: Stack, stream: SupervisedStream, given: argparse.Namespace, console: Console) -> int:
    settings = load_settings(stack.conf)
    source = Source(stack.database_url)
    history = read_history(Path(str(PROJECT / "data" / "sample")))
    began = time.monotonic()
    loaded = source.play(itertools.islice(history, LOADED))
    console.print(
        f"2. {loaded:,} real changes made the database in {time.monotonic() - began:.1f} s. The stream starts."
    )
    stream.start()
    compared = wait_until_equal(stack.database_url, settings, PATIENCE_SECONDS)
    if compared.differences:
        console.print(stream.log.read_text(errors="replace")[-2000:], highlight=False)
        return _end(console, compared)
    console.print(f"   {compared.entities:,} rows are embedded after {time.monotonic() - began:.0f} s.")
    console.print(f"3. {given.rate} changes a second for {given.seconds} s; in the middle the stream is killed (-9).")
    _edit_and_kill(stack, stream, source, history, given, console)
    console.print("4. Row by row: PostgreSQL, the tables, Redis, and a new consumer of the topic.")
    return _end(console, wait_until_equal(stack.database_url, settings, PATIENCE_SECONDS, stack.heal))


def _edit_and_kill(
    stack: Stack, stream: SupervisedStream, source: Source, history: Iterator[Record], given: argparse.Namespace,
    console: Console,
) -> None:  # fmt: skip
    root = str(stack.work / "tables")
    seen = Seen(counts=_counts(root), freshness=_freshness(root))
    stop = threading.Event()
    editor = threading.Thread(target=_edit, args=(source, history, given.rate, seen, stop), daemon=True)
    editor.start()
    kill_at = time.monotonic() + given.seconds * random.uniform(0.4, 0.6)
    end = time.monotonic() + given.seconds
    with Live(console=console, refresh_per_second=4) as live:
        while time.monotonic() < end:
            if not seen.note and time.monotonic() > kill_at:
                stream.kill()
                seen.note = f"kill -9 after {seen.committed:,} changes; started again by its supervisor"
            live.update(_screen(root, seen))
            time.sleep(0.25)
    stop.set()
    editor.join()


def _edit(source: Source, history: Iterator[Record], rate: int, seen: Seen, stop: threading.Event) -> None:
    """Play the history at a steady rate, one transaction per change, as its people did."""
    began = time.monotonic()
    for number, record in enumerate(history, 1):
        if stop.wait(max(0.0, began + number / rate - time.monotonic())):
            return
        seen.committed += source.play([record])


def _screen(root: str, seen: Seen) -> Table:
    counts, now, before = _counts(root), _freshness(root).counts, seen.freshness.counts
    events, inferences = counts.events_in - seen.counts.events_in, counts.inferences - seen.counts.inferences
    freshness = Histogram({bucket: n - before.get(bucket, 0) for bucket, n in now.items() if n > before.get(bucket, 0)})
    fresh = [freshness.percentile(q) for q in (0.5, 0.95, 0.99)]
    screen = Table.grid(padding=(0, 3))
    screen.add_row("changes committed", f"{seen.committed:,}")
    screen.add_row("events through the stream", f"{events:,}")
    screen.add_row("inferences", f"{inferences:,} ({1 - inferences / max(events, 1):.0%} of the events needed none)")
    screen.add_row("freshness p50 / p95 / p99", " / ".join(duration(f) if f is not None else "-" for f in fresh))
    screen.add_row("", seen.note)
    return screen


def _counts(root: str) -> BatchCounts:
    return sum((total.counts for total in ledger_totals(root)), BatchCounts())


def _freshness(root: str) -> Histogram:
    return merged(total.freshness for total in ledger_totals(root))


def _end(console: Console, compared: Compared) -> int:
    for difference in compared.differences:
        console.print(f"   {difference}", style="red", highlight=False)
    if not compared.differences:
        console.print(f"   {compared.entities:,} rows: equal in all four. Nothing was lost, nothing stands twice.")
    return int(bool(compared.differences))


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deploy.live.demo", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=int, default=60, help="how long rows are edited (default: %(default)s)")
    parser.add_argument("--rate", type=int, default=20, help="changes per second (default: %(default)s)")
    parser.add_argument("--encoder", choices=("local", "grpc"), default="local", help="where the model runs")
    parser.add_argument("--keep", action="store_true", help="keep the folder afterwards: data, tables, logs")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
