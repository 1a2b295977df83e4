"""The real change streams, as the records that Debezium would have written for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeAlias

import orjson
import pyarrow as pa

from benchmarks import PROJECT
from jude.changes.recorded import Line, records_of
from jude.entities import Entities, load_entities
from scripts import debezium_recorder

Record: TypeAlias = dict[str, Any]

SHARED: Final = PROJECT.parent / "shared" / "data"
"""Where the histories lie that are too large, or not licensed, to be shipped."""


@dataclass(frozen=True)
class Stream:
    """One real change stream, and what its text is for the independent recomputation."""

    name: str
    folder: str  # in the shared folder
    record: Callable[[Path], Iterator[Record]]
    text_columns: tuple[str, ...]
    set_columns: tuple[str, ...] = ()

    def is_in(self, shared: Path) -> bool:
        return (shared / self.folder).is_dir()


STREAMS: Final = (
    Stream(
        "internships",
        "stream_internships",
        debezium_recorder.internships,
        ("title", "company_name"),
        set_columns=("locations",),
    ),
    Stream("members", "stream_member_profiles", debezium_recorder.members, ("headline", "experience")),
    Stream("tts", "stream_tts_positions", debezium_recorder.tts, ("title", "organisation", "location", "description")),
    Stream(
        "companies",
        "stream_remote_companies",
        debezium_recorder.companies,
        ("name", "region", "remote_policy", "technologies", "description"),
    ),
)


def entities() -> Entities:
    """The shipped entities and those of benchmarks/entities."""
    shipped, own = load_entities(PROJECT / "conf" / "entities"), load_entities(PROJECT / "benchmarks" / "entities")
    return Entities([*shipped.values(), *own.values()])


def cut(records: Iterable[Record], rows: int) -> Iterator[list[Record]]:
    """Cut a stream into micro-batches, in order."""
    stream = iter(records)
    while batch := list(islice(stream, rows)):
        yield batch


def as_table(records: Sequence[Record]) -> pa.Table:
    """Give records as the file source would. Columns out: RECORDS, one row per record, in order."""
    return records_of("benchmark", [Line(number, orjson.dumps(record)) for number, record in enumerate(records, 1)])
