"""How many inferences real change streams need, against one per upsert: `python -m benchmarks.savings`.

Every stream is replayed in order through the real micro-batch (1,000 records each) into Delta tables of the native
writer and an SQLite store, with the hashing encoder and no truncation, so that only true sameness saves.

`inferences` is what one event at a time needs: distinct inputs of every text that an entity ever had.
`inferences_in_batches` is what this replay paid: a batch does not embed what a later event of it overtakes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.changes.recomputation import Seen, SlowTexts, Text
from benchmarks.changes.streams import SHARED, STREAMS, Record, Stream, as_table, cut, entities
from benchmarks.measuring.machine import Progress, describe, load, say
from jude.encoder import EncoderSpec, Tokeniser, encode_inputs, open_encoder, open_tokeniser
from jude.encoder.resilient import RetryPolicy
from jude.entities import Entities
from jude.errors import TerminalEnvironmentError
from jude.online.sqlite import SqliteStore
from jude.planning import Reason
from jude.stream.micro_batch import apply_batch
from jude.stream.pipeline import Pipeline
from jude.stream.planned import PlannedBatch, plan_on_driver
from jude.tables.native import NativeTables
from jude.tables.protocol import Txn

BATCH_ROWS = 1_000
ENDLESS_TOKENS = 1_000_000
MINILM_TOKENS = 256
BUCKETS = 8
MOST_EXAMPLES = 5
_COLUMNS = ("record", "op", "entity_id", "reason", "level", "writes_text", "text", "input_hash", "error_class")
Row = dict[str, Any]


@dataclass
class Inputs:
    """Counts what one tokeniser makes of every text, one event at a time."""

    tokeniser: Tokeniser
    skips: int = 0  # the entity's input stayed the same although its text did not
    truncated: int = 0
    distinct: set[str] = field(default_factory=set)
    _of_key: dict[str, str] = field(default_factory=dict)

    def follow(self, entity_type: str, rows: Sequence[Row]) -> None:
        """Count planned rows, in order."""
        made = iter(self.tokeniser.inputs(entity_type, [row["text"] for row in rows if _brings_text(row)]))
        for row in rows:
            if _brings_text(row):
                model_input = next(made)
                self.skips += self._of_key.get(row["entity_id"]) == model_input.input_hash
                self.truncated += model_input.truncated
                self.distinct.add(model_input.input_hash)
                self._of_key[row["entity_id"]] = model_input.input_hash
            elif row["op"] in ("d", "tombstone") and row["reason"] != Reason.STALE:
                self._of_key.pop(row["entity_id"], None)


@dataclass
class Savings:
    """What one stream needed."""

    whole: Inputs  # nothing truncated
    minilm: Inputs | None  # None: its tokeniser is not installed
    upserts: int = 0
    columns: int = 0  # skipped: no text column changed
    text: int = 0  # skipped: the normalised text is equal
    quarantined: int = 0
    paid: int = 0  # inferences of the replay in batches
    false_skips: int = 0
    markup_skips: int = 0  # right skips that rest on markup alone
    examples: list[str] = field(default_factory=list)  # of both

    def as_keys(self, name: str) -> dict[str, float | int]:
        """The numbers of one stream for the JSON line."""
        found: dict[str, float | int] = {
            "upserts": self.upserts,
            "inferences": len(self.whole.distinct),
            "inferences_in_batches": self.paid,
            "false_skips": self.false_skips,
            "saved_columns": self._saved(self.upserts - self.columns),
            "saved_text": self._saved(self._text_changes),
            "saved_input": self._saved(self._text_changes - self.whole.skips),
            "saved_store": self._saved(len(self.whole.distinct)),
        }
        if self.minilm is not None:
            found["minilm_inferences"] = len(self.minilm.distinct)
            found["minilm_truncated"] = self.minilm.truncated
            found["minilm_saved_input"] = self._saved(self._text_changes - self.minilm.skips)
            found["minilm_saved_store"] = self._saved(len(self.minilm.distinct))
        return {f"{name}.{key}": value for key, value in found.items()}

    @property
    def _text_changes(self) -> int:
        return self.upserts - self.columns - self.text - self.quarantined

    def _saved(self, left: int) -> float:
        return round(self.upserts / max(1, left), 2)


class Judge:
    """Compares every decision of the replay with the slow recomputation."""

    def __init__(self, stream: Stream) -> None:
        self._slow = SlowTexts(stream.text_columns, stream.set_columns)
        self._text_of: dict[str, Text] = {}  # by input_hash: the text that the vector was made of

    def judge(self, rows: Sequence[Row], records: Sequence[Record], savings: Savings) -> None:
        """Count upserts that were skipped, or given a stored vector, although their text is another one."""
        decisions = {row["record"]: row for row in rows}
        for number, record in enumerate(records):
            seen = self._slow.follow(record)
            row = decisions.get(number)
            if seen is None or row is None:
                continue
            false = self._is_false(row, seen)
            on_markup = row["reason"] == Reason.UNCHANGED and seen.differs_in_markup_only
            savings.false_skips += false
            savings.markup_skips += on_markup
            if (false or on_markup) and len(savings.examples) < MOST_EXAMPLES:
                kind = "FALSE" if false else "markup"
                savings.examples.append(f"{kind}: {seen.key}, offset {record['offset']}, {_difference(seen)}")

    def _is_false(self, row: Row, seen: Seen) -> bool:
        if row["reason"] == Reason.UNCHANGED:
            return seen.differs
        if row["reason"] == Reason.CHANGED and row["input_hash"] is not None:
            return self._text_of.setdefault(row["input_hash"], seen.text) != seen.text
        return False


def _difference(seen: Seen) -> str:
    """Where the text changed first, cut short."""
    before = next((pair for pair in zip(seen.plain_before or (), seen.plain, strict=False) if pair[0] != pair[1]), None)
    if before is None or not all(isinstance(part, str) for part in before):
        return "see the record"
    old, new = before
    start = max(0, next((i for i, (x, y) in enumerate(zip(old, new, strict=False)) if x != y), 0) - 10)
    return f"{old[start : start + 40]!r} -> {new[start : start + 40]!r}"


def replay(
    stream: Stream, records: Iterable[Record], all_entities: Entities, folder: Path, whole: int = 0,
    batch_rows: int = BATCH_ROWS,
) -> Savings:  # fmt: skip
    """Replay one stream into new tables under `folder`; `whole` records are expected (for the progress only)."""
    pipeline = open_replay(all_entities, folder)
    savings = Savings(Inputs(pipeline.tokeniser), _minilm_inputs(all_entities))
    judge, progress, done = Judge(stream), Progress(stream.name, whole), 0
    try:
        for number, batch in enumerate(cut(records, batch_rows)):
            planned: list[PlannedBatch] = []
            plan = partial(_kept, partial(plan_on_driver, as_table(batch), pipeline), planned)
            applied = apply_batch(plan, pipeline, Txn("stream", stream.name, number))
            savings.paid += sum(counts.inferences for counts in applied.counts.values())
            rows = planned[-1].planned.select(["entity_type", *_COLUMNS]).to_pylist()
            _count(savings, rows)
            judge.judge(rows, batch, savings)
            done += len(batch)
            progress.at(done)
    finally:
        pipeline.online.close()
    return savings


def _kept(plan: Callable[[], PlannedBatch], planned: list[PlannedBatch]) -> PlannedBatch:
    planned.append(plan())
    return planned[-1]


def _count(savings: Savings, rows: Sequence[Row]) -> None:
    for row in rows:
        savings.upserts += row["op"] in ("c", "u", "r")
        savings.columns += row["level"] == "columns"
        savings.text += row["level"] == "text"
        savings.quarantined += row["reason"] == Reason.QUARANTINED and row["op"] in ("c", "u", "r")
    for inputs in filter(None, (savings.whole, savings.minilm)):
        if rows:
            inputs.follow(rows[0]["entity_type"], rows)


def _brings_text(row: Row) -> bool:
    return bool(row["writes_text"]) and row["text"] is not None


def open_replay(all_entities: Entities, folder: Path) -> Pipeline:
    """A pipeline over new native tables and SQLite, with the hashing encoder and no truncation."""
    spec = _spec(all_entities, "hashing", ENDLESS_TOKENS)
    encoder = open_encoder(spec)
    tables = NativeTables(folder / "tables", BUCKETS)
    tables.ensure()
    return Pipeline(
        entities=all_entities,
        tokeniser=open_tokeniser(spec),
        encode=partial(encode_inputs, encoder.encode, policy=RetryPolicy()),
        width=encoder.width,
        tables=tables,
        online=SqliteStore(folder / "online.sqlite"),
        clock=lambda: datetime.now(UTC),
    )


def _minilm_inputs(all_entities: Entities) -> Inputs | None:
    try:
        return Inputs(open_tokeniser(_spec(all_entities, "all-minilm-l6-v2", MINILM_TOKENS)))
    except TerminalEnvironmentError:
        return None


def _spec(all_entities: Entities, kind: str, max_tokens: int) -> EncoderSpec:
    return EncoderSpec(
        kind=kind,
        max_tokens=max_tokens,
        prompts={e.name: e.prompt for e in all_entities.values()},
        render_versions={e.name: e.render_version for e in all_entities.values()},
    )


def measure(shared: Path, only: Sequence[str], batch_rows: int) -> dict[str, float | int]:
    """Replay every stream that is there."""
    all_entities, found = entities(), dict[str, float | int]()
    for stream in STREAMS:
        if only and stream.name not in only:
            continue
        if not stream.is_in(shared):
            say(f"{stream.name}: skipped, {stream.folder} is not in {shared} (say --shared FOLDER)")
            continue
        records = list(stream.record(shared))
        with tempfile.TemporaryDirectory(prefix="jude-savings-") as folder:
            savings = replay(stream, records, all_entities, Path(folder), len(records), batch_rows)
        _print(stream.name, savings)
        found |= savings.as_keys(stream.name)
    return found


def _print(name: str, savings: Savings) -> None:
    keys = {key.split(".")[1]: value for key, value in savings.as_keys(name).items()}
    say(f"\n{name}: {savings.upserts:,} upserts, so {savings.upserts:,} inferences naively")
    say(f"  columns   {savings.columns:>8,} skipped   saved so far {keys['saved_columns']:>6.2f} x")
    say(f"  text      {savings.text:>8,} skipped   saved so far {keys['saved_text']:>6.2f} x")
    say(f"  input     {savings.whole.skips:>8,} skipped   saved so far {keys['saved_input']:>6.2f} x")
    say(f"  store     {keys['inferences']:>8,} inferences one event at a time: saved {keys['saved_store']:.2f} x")
    say(f"            {savings.paid:>8,} inferences paid in these batches")
    if savings.minilm is not None:
        say(
            f"  with MiniLM's {MINILM_TOKENS} tokens: {savings.minilm.skips:,} skipped by input, "
            f"{keys['minilm_inferences']:,} inferences ({keys['minilm_saved_store']:.2f} x), "
            f"{savings.minilm.truncated:,} texts truncated"
        )
    say(
        f"  false skips by the slow recomputation: {savings.false_skips}; skips that rest on markup alone: "
        f"{savings.markup_skips}; quarantined: {savings.quarantined}"
    )
    for example in savings.examples:
        say(f"    {example}")


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table per stream, then one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.savings", description=__doc__.split("\n")[0])
    parser.add_argument("--shared", type=Path, default=SHARED, help="folder of the histories (default: %(default)s)")
    parser.add_argument("--stream", action="append", default=[], choices=[s.name for s in STREAMS], help="only these")
    parser.add_argument("--batch-rows", type=int, default=BATCH_ROWS, help="records per micro-batch (default: 1000)")
    given = parser.parse_args(argv)
    say(describe())
    found = measure(given.shared, given.stream, given.batch_rows)
    say(f"\nAt the end: {load()}")
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
