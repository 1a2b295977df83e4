"""Recorded change files: JSON lines that say what Kafka would hold, read into RECORDS.

One line is one record:

    {"topic": "jude.public.jobs", "partition": 0, "offset": 17, "timestamp": 1690999999000,
     "headers": {}, "key": {"id": "j1"}, "value": {"op": "u", ...}}

- `key`, `value` and the values of `headers`: null is null; a string is its UTF-8 bytes; anything else is its compact
  JSON. Bytes that are neither go to `key_base64`, `value_base64`. `value: null` is a tombstone.
- `headers` is an object or, where a header repeats or is not text, a list of `{"key": ..., "value": ...}`.
- `partition` (0), `timestamp` (null), `headers` (none) and `key` (null) may be left out; `topic`, `offset` and the
  value may not: a record without them could not be ordered, or would be a delete by accident.

A line that cannot be read is data, not an exception: it becomes a record of the topic `file:<file name>` whose offset
is the line number (from 1), whose value is the raw line, and whose headers say why (`ERROR_CLASS_HEADER`,
`ERROR_HEADER`); the decoder makes a quarantine row of it. Blank lines are no records.
"""

from __future__ import annotations

import base64
import binascii
import gc
import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, NoReturn

import orjson
import pyarrow as pa

from jude.changes.records import RECORDS

ERROR_CLASS_HEADER: Final = "jude.error_class"
ERROR_HEADER: Final = "jude.error"
SUFFIXES: Final = (".jsonl", ".jsonl.gz")

_CHUNK_BYTES: Final = 1 << 20
_BOM: Final = b"\xef\xbb\xbf"
_INT32_MAX: Final = 2**31 - 1
_INT64_MAX: Final = 2**63 - 1
_TIMESTAMPS_MS: Final = (-62_135_596_800_000, 253_402_300_799_999)  # the years 1 to 9999: Python has no others
_HEADER_TYPE: Final = RECORDS.field("headers").type.value_type

Header = tuple[str, bytes | None]


class Fault(NamedTuple):
    """Why a line is no record: a word, and a sentence without the line's content."""

    error_class: str
    error: str


class Line(NamedTuple):
    """One line of a file: number from 1, bytes without the line end, and a fault that is known before parsing."""

    number: int
    raw: bytes
    fault: Fault | None = None


class Record(NamedTuple):
    """One row of RECORDS."""

    topic: str
    partition: int
    offset: int
    timestamp_us: int | None
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header]


class NotARecordError(ValueError):
    """The line is JSON, but not a record; the message is the fault's sentence."""


class RecordedFile:
    """A cursor over the lines of one recorded file, plain or gzip; holds one chunk of it in memory.

    `next_line` counts the lines passed (from 0), `finished` tells that none is left.
    """

    def __init__(self, path: Path, start: int = 0) -> None:
        """Open the file and pass over its first `start` lines. Raises OSError when it cannot be opened."""
        self._file = _open(path)
        self._lines = _lines(self._file)
        self._ahead: Line | None = None
        self.next_line = 0
        self._advance()
        while self.next_line < start and not self.finished:
            self._step()

    @property
    def finished(self) -> bool:
        return self._ahead is None

    def take(self, max_lines: int, max_bytes: int) -> list[Line]:
        """Read on, until the bounds or the end; at least one line if any is left, however long it is."""
        taken: list[Line] = []
        while self._ahead is not None and len(taken) < max_lines and (max_bytes > 0 or not taken):
            max_bytes -= len(self._ahead.raw)
            taken.append(self._ahead)
            self._step()
        return taken

    def close(self) -> None:
        self._file.close()

    def _step(self) -> None:
        self.next_line += 1
        self._advance()

    def _advance(self) -> None:
        self._ahead = next(self._lines, None)


def read_records(path: Path, start: int = 0, stop: int | None = None) -> pa.Table:
    """Read the records of the lines `start` to `stop` (from 0, without `stop`) of one file.

    Columns out: RECORDS
    Raises OSError when the file cannot be opened.
    """
    lines = RecordedFile(path, start)
    try:
        taken = lines.take(_INT64_MAX if stop is None else stop - start, _INT64_MAX)
    finally:
        lines.close()
    return records_of(path.name, taken)


def records_of(file_name: str, lines: Sequence[Line]) -> pa.Table:
    """Parse lines into RECORDS; what cannot be read becomes an error record of the topic `file:<file_name>`."""
    with _no_garbage_collection():
        return table_of([_parse(file_name, line) for line in lines if line.fault or line.raw.strip()])


def table_of(records: Sequence[Record]) -> pa.Table:
    """Put records into columns. Columns out: RECORDS"""
    topic, partition, offset, timestamp, key, value, headers = (
        zip(*records, strict=True) if records else ((),) * len(RECORDS)
    )
    ends = [0]
    for row in headers:
        ends.append(ends[-1] + len(row))
    pairs = [pair for row in headers for pair in row]
    structs = pa.StructArray.from_arrays(
        [pa.array([k for k, _ in pairs], pa.string()), pa.array([v for _, v in pairs], pa.binary())],
        fields=list(_HEADER_TYPE),
    )
    columns = [topic, partition, offset, timestamp, key, value]
    arrays = [pa.array(c, f.type) for c, f in zip(columns, RECORDS, strict=False)]
    arrays.append(pa.ListArray.from_arrays(pa.array(ends, pa.int32()), structs, type=RECORDS.field("headers").type))
    return pa.Table.from_arrays(arrays, schema=RECORDS)


# Reading lines


def _open(path: Path) -> IO[bytes]:
    # GzipFile.read1 hands out everything it decompressed before it complains, so no complete line is lost.
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]  # it is IO[bytes]


def _lines(file: IO[bytes]) -> Iterator[Line]:
    pending: list[bytes] = []
    number = 0
    fault: Fault | None = None
    while True:
        try:
            chunk: bytes = file.read1(_CHUNK_BYTES)  # type: ignore[attr-defined]  # IO does not name it
        except EOFError:
            fault = Fault("truncated_file", "The gzip file ends before its end mark: copy it again.")
            break
        except (gzip.BadGzipFile, zlib.error):
            fault = Fault("corrupt_file", "The gzip file is damaged from here on: copy it again.")
            break
        if not chunk:
            break
        if b"\n" not in chunk:
            pending.append(chunk)
            continue
        first, *parts = chunk.split(b"\n")
        for part in (b"".join([*pending, first]), *parts[:-1]):
            number += 1
            yield _line(number, part)
        pending = [parts[-1]]
    rest = b"".join(pending)
    if fault or rest:
        yield _line(number + 1, rest)._replace(fault=fault)


def _line(number: int, raw: bytes) -> Line:
    if number == 1:
        raw = raw.removeprefix(_BOM)
    return Line(number, raw.removesuffix(b"\r"))


# Parsing lines


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Parsing makes many containers and no cycles: looking for cycles all the time took up to half of it."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _parse(file_name: str, line: Line) -> Record:
    fault = line.fault
    if fault is None:
        try:
            return _record(_loads(line.raw))
        except NotARecordError as error:
            fault = Fault("not_a_record", f"{error} See the record format of recorded files.")
        except UnicodeDecodeError:
            fault = Fault("invalid_utf8", "The line is not UTF-8.")
        except (ValueError, RecursionError):
            fault = Fault("not_json", "The line is not JSON.")
    reasons = [(ERROR_CLASS_HEADER, fault.error_class.encode()), (ERROR_HEADER, fault.error.encode())]
    name = file_name.encode("utf-8", "backslashreplace").decode()  # a name on disk need not be UTF-8
    return Record(f"file:{name}", 0, line.number, None, None, line.raw, reasons)


def _loads(raw: bytes) -> object:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        # The slow parser also takes what orjson refuses but Kafka may hold: lone surrogates as \u escapes.
        return json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _record(line: object) -> Record:
    if not isinstance(line, dict):
        raise NotARecordError("The line is not an object.")
    topic = line.get("topic")
    if not isinstance(topic, str) or not topic:
        raise NotARecordError("`topic` is missing or not a string.")
    _utf8(topic)
    if "value" not in line and "value_base64" not in line:
        raise NotARecordError("`value` is missing; null would be a tombstone.")
    timestamp = line.get("timestamp")
    if timestamp is not None:
        timestamp = 1000 * _integer(line, "timestamp", *_TIMESTAMPS_MS)
    return Record(
        topic,
        _integer(line, "partition", 0, _INT32_MAX) if "partition" in line else 0,
        _integer(line, "offset", 0, _INT64_MAX),
        timestamp,
        _field(line, "key"),
        _field(line, "value"),
        _headers(line.get("headers")) if line.get("headers") else (),
    )


def _integer(line: dict[str, Any], name: str, low: int, high: int) -> int:
    found = line.get(name)
    if not isinstance(found, int) or isinstance(found, bool) or not low <= found <= high:
        raise NotARecordError(f"`{name}` is missing or not an integer from {low} to {high}.")
    return found


def _field(line: dict[str, Any], name: str) -> bytes | None:
    encoded = line.get(f"{name}_base64")
    if encoded is None:
        return _bytes(line.get(name))
    try:
        return base64.b64decode(encoded, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise NotARecordError(f"`{name}_base64` is not base64.") from None


def _bytes(value: object) -> bytes | None:
    if value is None:
        return None
    if isinstance(value, str):
        return _utf8(value)
    try:
        return orjson.dumps(value)
    except TypeError:  # lone surrogates: kept as \u escapes
        return json.dumps(value, separators=(",", ":")).encode()


def _utf8(value: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise NotARecordError("A string holds a lone surrogate: it has no UTF-8 bytes.") from None


def _headers(found: object) -> Sequence[Header]:
    headers: list[Header]
    if isinstance(found, dict):
        headers = [(key, _bytes(value)) for key, value in found.items()]
    elif isinstance(found, list) and all(isinstance(h, dict) and isinstance(h.get("key"), str) for h in found):
        headers = [(h["key"], _field(h, "value")) for h in found]
    else:
        raise NotARecordError("`headers` is neither an object nor a list of key and value.")
    for key, _ in headers:
        _utf8(key)
    return headers
