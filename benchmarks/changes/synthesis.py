"""Any number of changes out of the real streams, by new keys: every copy is the same history of other entities."""

from __future__ import annotations

import gzip
import heapq
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from benchmarks import PROJECT
from benchmarks.changes.streams import Record
from benchmarks.measuring.machine import Progress, say
from scripts import debezium_recorder

EVENTS_PER_COPY: Final = 24_000
PLACEHOLDER: Final = "__debezium_unavailable_value"
_NAMED_BY: Final = {"jude.public.members": "headline", "jude.public.jobs": "title"}
"""The short text column to which a copy adds its number, so that its texts are its own."""


def base_records(shared: Path, events: int = EVENTS_PER_COPY) -> list[Record]:
    """Real members and TTS postings, mixed evenly, cut at `events`; the shipped sample where they are absent."""
    folders = ("stream_member_profiles", "stream_tts_positions")
    if all((shared / folder).is_dir() for folder in folders):
        streams = [list(debezium_recorder.members(shared)), list(debezium_recorder.tts(shared))]
    else:
        say(f"{' and '.join(folders)} are not in {shared}: data/sample is used instead")
        sample = _sample()
        streams = [[r for r in sample if r["topic"] == topic] for topic in _NAMED_BY]
    return _mixed(streams)[:events]


def _sample() -> list[Record]:
    records: list[Record] = []
    for path in sorted((PROJECT / "data" / "sample").glob("*.jsonl.gz")):
        with gzip.open(path, "rb") as lines:
            records += map(orjson.loads, lines)
    return records


def _mixed(streams: Iterable[Sequence[Record]]) -> list[Record]:
    """Mix streams so that each is spread over the whole, in its own order."""
    placed = ([(place / len(stream), i, r) for place, r in enumerate(stream)] for i, stream in enumerate(streams))
    return [record for _, _, record in heapq.merge(*placed, key=lambda item: item[:2])]


def write_copies(base: Sequence[Record], folder: Path, copies: int) -> int:
    """Write one gzip file per copy, one after the other; give the number of records."""
    folder.mkdir(parents=True, exist_ok=True)
    progress = Progress("writing changes", copies)
    for copy, records in enumerate(copies_of(base, copies)):
        with gzip.open(folder / f"{copy:05d}.jsonl.gz", "wb", compresslevel=1) as file:
            file.writelines(orjson.dumps(record) + b"\n" for record in records)
        progress.at(copy + 1)
    return copies * len(base)


def copies_of(base: Sequence[Record], copies: int) -> Iterator[Iterator[Record]]:
    """Give copy after copy: the same changes of other entities with other texts, each later in the log."""
    per_log = Counter((r["topic"], r["partition"]) for r in base)
    lsns = [r["value"]["source"]["lsn"] for r in base if r["value"] is not None]
    span = max(lsns) - min(lsns) + 1
    for copy in range(copies):
        yield (_renamed(r, copy, copy * per_log[r["topic"], r["partition"]], copy * span) for r in base)


def _renamed(record: Record, copy: int, offset: int, lsn: int) -> Record:
    """The same change of another entity, later in the log."""
    value = record["value"]
    return {
        **record,
        "offset": record["offset"] + offset,
        "key": _named(record["key"], copy),
        "headers": {name: json.dumps(_named(json.loads(raw), copy)) for name, raw in record["headers"].items()},
        "value": None if value is None else _renamed_value(value, record["topic"], copy, lsn),
    }


def _renamed_value(value: dict[str, Any], topic: str, copy: int, lsn: int) -> dict[str, Any]:
    source = {**value["source"], "lsn": value["source"]["lsn"] + lsn}
    before, after = (side and _named(side, copy) for side in (value["before"], value["after"]))
    column = _NAMED_BY[topic]
    if after and after[column] != PLACEHOLDER:
        after[column] = f"{after[column]} {copy}"
    return {**value, "before": before, "after": after, "source": source}


def _named(row: dict[str, Any], copy: int) -> dict[str, Any]:
    return {**row, "id": f"{row['id']}~{copy}"}
