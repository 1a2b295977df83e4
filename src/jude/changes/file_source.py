"""The recorded-file source: a streaming source that plays `*.jsonl` and `*.jsonl.gz` of a folder as if it were Kafka.

Files are read in name order; hidden names (`.` or `_` first) are ignored. A file must be complete when it appears
(write it under a hidden name, then rename it) and never change: it is known by its name alone. A file that appears
late with an older name is read next. Finished files may be removed once the query has gone past them.

The reader process of Spark parses each line once and hands the rows to the JVM with the batch's plan. No Python worker
starts per batch: a trigger of 20 rows costs tens of milliseconds, and a file is passed over once however many
batches it is cut into.
"""

from __future__ import annotations

import base64
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import pyarrow as pa
from pyspark.sql.datasource import DataSource, SimpleDataSourceStreamReader
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.streaming.datasource import SupportsTriggerAvailableNow
from pyspark.sql.types import StructType

from jude.changes.recorded import SUFFIXES, Line, RecordedFile, records_of
from jude.errors import TerminalSourceError

FORMAT: Final = "jude_changes"
DDL: Final = (
    "topic string, partition int, offset bigint, timestamp timestamp, key binary, value binary, "
    "headers array<struct<key: string, value: binary>>"
)
"""Kafka's columns; what both sources yield."""

DEFAULT_MAX_ROWS: Final = 10_000
MAX_BATCH_BYTES: Final = 256 << 20
"""A batch is closed early when its lines pass this: Arrow's binary columns end at 2 GiB."""


@dataclass(frozen=True, slots=True)
class FileOffset:
    """How far the folder was read: the finished files, and the lines passed of the one that is open.

    Its JSON form packs the names (sorted, deflated): 10,000 numbered files take about 30 kB.
    """

    done: frozenset[str] = frozenset()
    open_file: str = ""
    lines: int = 0

    def to_json(self) -> dict[str, Any]:
        names = "\n".join(sorted(self.done)).encode("utf-8", "surrogateescape")
        packed = base64.b64encode(zlib.compress(names, 6)).decode()
        return {"files": len(self.done), "names": packed, "open": self.open_file, "lines": self.lines}

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> FileOffset:
        names = zlib.decompress(base64.b64decode(found["names"])).decode("utf-8", "surrogateescape")
        return cls(frozenset(names.split("\n")) - {""}, found["open"], found["lines"])

    def after(self, name: str, lines: int, *, finished: bool) -> FileOffset:
        """Move past `lines` lines of one file."""
        if finished:
            return FileOffset(self.done | {name})
        return replace(self, open_file=name, lines=lines)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one batch may take."""

    rows: int
    files: int
    bytes: int = MAX_BATCH_BYTES


@dataclass(slots=True)
class FolderCursor:
    """Reads a folder on from an offset. Keeps the open file open between batches, so that none is passed over twice."""

    folder: Path
    fail_on_data_loss: bool
    _open: RecordedFile | None = None
    _at: tuple[str, int] = field(default=("", 0))

    def names(self) -> frozenset[str]:
        """List the files that are there now. Raises TerminalSourceError when the folder is missing."""
        try:
            with os.scandir(self.folder) as entries:
                return frozenset(e.name for e in entries if e.name.endswith(SUFFIXES) and e.name[0] not in "._")
        except (FileNotFoundError, NotADirectoryError):
            raise TerminalSourceError(
                f"The folder of recorded changes {str(self.folder)!r} does not exist. "
                "Create it or set `source.path` to the folder that holds the *.jsonl files."
            ) from None

    def read(self, start: FileOffset, names: frozenset[str], bounds: Bounds) -> tuple[list[pa.Table], FileOffset]:
        """Take the next rows within the bounds; the offset is `start` itself when nothing is left.

        Files that went away are forgotten with the first step onwards, so the offset does not grow for ever.
        """
        waiting = sorted(names - start.done - {start.open_file})
        todo = [start.open_file, *waiting] if start.open_file else waiting
        offset = replace(start, done=start.done & names) if todo else start
        tables: list[pa.Table] = []
        for name in todo[: bounds.files]:
            skip = offset.lines if name == offset.open_file else 0
            lines, offset = self._take(name, skip, bounds, offset)
            tables.append(records_of(name, lines))
            bounds = replace(
                bounds, rows=bounds.rows - len(lines), bytes=bounds.bytes - sum(len(line.raw) for line in lines)
            )
            if offset.open_file or bounds.rows <= 0 or bounds.bytes <= 0:
                break
        return tables, offset

    def read_again(self, start: FileOffset, end: FileOffset) -> Iterator[pa.Table]:
        """Read exactly what lies between two offsets, for a batch that is replayed after a restart."""
        finished = end.done - start.done
        todo = [start.open_file] if start.open_file in finished else []
        todo += sorted(finished - {start.open_file})
        for name in todo:
            lines = self._lines(name, start.lines if name == start.open_file else 0, None)
            yield records_of(name, lines)
        if end.open_file:
            first = start.lines if end.open_file == start.open_file else 0
            yield records_of(end.open_file, self._lines(end.open_file, first, end.lines))

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
        self._open, self._at = None, ("", 0)

    def _take(self, name: str, skip: int, bounds: Bounds, offset: FileOffset) -> tuple[list[Line], FileOffset]:
        opened = self._cursor(name, skip)
        if opened is None:
            return [], offset.after(name, 0, finished=True)
        lines = opened.take(bounds.rows, bounds.bytes)
        self._at = (name, opened.next_line)
        finished = opened.finished
        if finished:
            self.close()
        return lines, offset.after(name, skip + len(lines), finished=finished)

    def _lines(self, name: str, start: int, stop: int | None) -> list[Line]:
        opened = self._cursor(name, start)
        if opened is None:
            return []
        lines = opened.take(2**63 - 1 if stop is None else stop - start, 2**63 - 1)
        self._at = (name, opened.next_line)
        return lines

    def _cursor(self, name: str, start: int) -> RecordedFile | None:
        """Give the cursor that stands at a line; None when the file is gone and that is allowed."""
        if self._open is not None and self._at == (name, start):
            return self._open
        self.close()
        try:
            self._open, self._at = RecordedFile(self.folder / name, start), (name, start)
        except FileNotFoundError:
            if self.fail_on_data_loss:
                raise TerminalSourceError(
                    f"The recorded file {name!r} went away from {str(self.folder)!r} before it was read to its end. "
                    "Put it back, or set `source.fail_on_data_loss: false` to go on without its rows."
                ) from None
        except OSError as error:
            raise TerminalSourceError(
                f"The recorded file {name!r} in {str(self.folder)!r} cannot be read: {error.strerror}. "
                "Mend that, or take it away."
            ) from None
        return self._open


class JudeChanges(DataSource):
    """`spark.readStream.format("jude_changes")`.

    Options: path, maxRowsPerTrigger, maxFilesPerTrigger, failOnDataLoss.
    """

    @classmethod
    def name(cls) -> str:
        return FORMAT

    def schema(self) -> str:
        return DDL

    def simpleStreamReader(self, schema: StructType) -> RecordedChangesReader:  # noqa: N802 - Spark's name
        sys.excepthook = _end_quietly
        return RecordedChangesReader(
            FolderCursor(Path(self.options["path"]), self.options.get("failOnDataLoss", "true").lower() == "true"),
            Bounds(
                _positive(self.options.get("maxRowsPerTrigger"), DEFAULT_MAX_ROWS),
                _positive(self.options.get("maxFilesPerTrigger"), 2**31 - 1),
            ),
            to_arrow_schema(schema, timezone="UTC"),
        )


class RecordedChangesReader(SimpleDataSourceStreamReader, SupportsTriggerAvailableNow):
    """Spark's side of the cursor; the method names are Spark's.

    The simple reader's rows may be Arrow batches (as in `DataSourceStreamReader.read`): Spark keeps them in its block
    manager until the batch is committed, and asks `readBetweenOffsets` only after a restart.
    """

    def __init__(self, cursor: FolderCursor, bounds: Bounds, schema: pa.Schema) -> None:
        self._cursor = cursor
        self._bounds = bounds
        self._schema = schema
        self._names: Callable[[], frozenset[str]] = cursor.names

    def initialOffset(self) -> dict[str, Any]:  # noqa: N802 - Spark's name
        return FileOffset().to_json()

    def prepareForTriggerAvailableNow(self) -> None:  # noqa: N802 - Spark's name
        there_at_start = self._cursor.names()
        self._names = lambda: there_at_start

    def read(self, start: dict[str, Any]) -> tuple[Iterator[Any], dict[str, Any]]:
        begin = FileOffset.from_json(start)
        tables, end = self._cursor.read(begin, self._names(), self._bounds)
        # A list's iterator, not a generator: Spark copies it before it uses it.
        return iter(list(self._batches(iter(tables)))), start if end == begin else end.to_json()

    def readBetweenOffsets(self, start: dict[str, Any], end: dict[str, Any]) -> Iterator[Any]:  # noqa: N802 - Spark's name
        tables = self._cursor.read_again(FileOffset.from_json(start), FileOffset.from_json(end))
        return self._batches(tables)

    def _batches(self, tables: Iterator[pa.Table]) -> Iterator[pa.RecordBatch]:
        for table in tables:
            yield from table.cast(self._schema).to_batches()


def _end_quietly(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Spark ends the reader's process by closing its socket, and kills it; what the process sees first is no error."""
    if not isinstance(error, ConnectionError):
        sys.__excepthook__(kind, error, trace)


def _positive(option: str | None, default: int) -> int:
    if option is None:
        return default
    if not option.isdigit() or int(option) == 0:
        raise TerminalSourceError(f"The source's bounds per trigger are whole numbers from 1, not {option!r}.")
    return int(option)
