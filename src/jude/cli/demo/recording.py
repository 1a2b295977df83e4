"""The recorded changes, cut in two: what is replayed in bulk, and the last ones of each table, held back to be live."""

from __future__ import annotations

import gzip
import zlib
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, Final

import orjson

from jude.changes.recorded import SUFFIXES
from jude.entities import Entities
from jude.errors import TerminalSourceError

Record = dict[str, Any]
UPSERTS: Final = ("c", "u", "r")


@dataclass(frozen=True, slots=True)
class Recording:
    """What was written into the watched folder, and what waits to be live."""

    bulk_records: int
    live: list[Record]
    upserts: Counter[str]
    """Creates, updates and snapshot rows per entity type, in both parts: what would be embedded without JUDE."""


def cut_recording(sample: Path, watched: Path, entities: Entities, hold_back: int) -> Recording:
    """Copy the recorded files, without the last `hold_back` records of each entity's topic.

    Order is kept: what is held back of a topic comes after all the rest of it. Raises TerminalSourceError for a folder
    without recorded files.
    """
    files = recorded_files(sample)
    newest: defaultdict[str, deque[tuple[str, int]]] = defaultdict(lambda: deque(maxlen=hold_back))
    upserts: Counter[str] = Counter()
    for file in files:
        for number, line in enumerate(_lines(file)):
            record = _parsed(line)
            entity = entities.of_topic(str(record.get("topic")))
            if entity is not None:
                newest[entity.topic].append((file.name, number))
                upserts[entity.name] += _op(record) in UPSERTS
    live: defaultdict[str, list[Record]] = defaultdict(list)
    held_back = set(chain.from_iterable(newest.values()))
    watched.mkdir(parents=True)
    bulk_records = sum(_copy(file, watched, held_back, live) for file in files)
    return Recording(bulk_records, _in_turn(list(live.values())), upserts)


def recorded_files(sample: Path) -> list[Path]:
    """List the recorded files of a folder, as the stream would. Raises TerminalSourceError where there is none."""
    files = sorted(path for path in sample.glob("[!._]*.jsonl*") if path.name.endswith(SUFFIXES))
    if not files:
        raise TerminalSourceError(f"There are no recorded changes (*.jsonl, *.jsonl.gz) in {sample}.")
    return files


def _copy(file: Path, watched: Path, held_back: set[tuple[str, int]], live: dict[str, list[Record]]) -> int:
    kept = []
    for number, line in enumerate(_lines(file)):
        if (file.name, number) in held_back:
            record = _parsed(line)
            live[record["topic"]].append(record)
        else:
            kept.append(line)
    target = watched / file.name.removesuffix(".gz")
    if target.exists():  # of a.jsonl, which a.jsonl.gz comes after
        target = watched / f"{file.name}.jsonl"
    target.write_bytes(b"".join(kept))
    return len(kept)


def _lines(file: Path) -> Iterator[bytes]:
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as lines:
            yield from lines
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise TerminalSourceError(f"{file} is damaged or ends early ({error}). Take it away, or mend it.") from error


def _parsed(line: bytes) -> Record:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {}
    return record if isinstance(record, dict) else {}


def _op(record: Record) -> Any:  # noqa: ANN401  whatever stands there
    value = record.get("value")
    return value.get("op") if isinstance(value, dict) else None


def _in_turn(topics: list[list[Record]]) -> list[Record]:
    """Take one record of each topic in turn; the order inside a topic stays."""
    return [record for turn in zip_longest(*topics) for record in turn if record is not None]


def restamped(record: Record, now_ms: int) -> Record:
    """Give the record the time of now: as its Kafka timestamp and as the commit time of the database.

    Positions (lsn, transaction order, offset) stay what they were.
    """
    value = record.get("value")
    if isinstance(value, dict) and isinstance(value.get("source"), dict):
        value = value | {"source": value["source"] | {"ts_ms": now_ms}}
    return record | {"timestamp": now_ms, "value": value}


def write_file(folder: Path, name: str, records: list[Record]) -> None:
    """Write a recorded file that appears whole."""
    unfinished = folder / f".{name}"
    unfinished.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))
    unfinished.replace(folder / name)
