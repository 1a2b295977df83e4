"""Recorded files: what a line means, and what becomes of a line that means nothing."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from jude.changes.recorded import ERROR_CLASS_HEADER, ERROR_HEADER, Line, read_records, records_of
from jude.planning.rows import RECORDS
from tests.recording import write_records

GOOD = b'{"topic":"t","offset":1,"key":{"id":"j1"},"value":{"op":"c"}}'


def rows_of(tmp_path: Path, content: bytes, name: str = "a.jsonl") -> list[dict[str, Any]]:
    (tmp_path / name).write_bytes(content)
    records = read_records(tmp_path / name)
    assert records.schema == RECORDS
    return records.to_pylist()


def error_of(row: dict[str, Any]) -> str:
    headers = {h["key"]: h["value"].decode() for h in row["headers"]}
    assert headers[ERROR_HEADER].endswith(".")
    return headers[ERROR_CLASS_HEADER]


def test_a_line_becomes_the_record_that_kafka_would_hold(tmp_path: Path) -> None:
    line = (
        b'{"topic": "jude.public.jobs", "partition": 2, "offset": 17, "timestamp": 1690999999001,'
        b' "headers": {"__debezium.oldkey": {"id": "j0"}, "note": "hi", "none": null},'
        b' "key": {"id": "j1"}, "value": {"op": "u", "after": {"title": "K\xc3\xb6chin"}}}\n'
    )
    assert rows_of(tmp_path, line) == [
        {
            "topic": "jude.public.jobs",
            "partition": 2,
            "offset": 17,
            "timestamp": datetime(2023, 8, 2, 18, 13, 19, 1000, tzinfo=UTC),
            "key": b'{"id":"j1"}',
            "value": '{"op":"u","after":{"title":"Köchin"}}'.encode(),
            "headers": [
                {"key": "__debezium.oldkey", "value": b'{"id":"j0"}'},
                {"key": "note", "value": b"hi"},
                {"key": "none", "value": None},
            ],
        }
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b'"value":null', None),
        (b'"value":"not an envelope"', b"not an envelope"),
        (b'"value_base64":"//79"', b"\xff\xfe\xfd"),
        (b'"value":[1, 2]', b"[1,2]"),
        (b'"value":{"text":"\\ud800"}', b'{"text":"\\ud800"}'),
    ],
)
def test_values(tmp_path: Path, value: bytes, expected: bytes | None) -> None:
    (row,) = rows_of(tmp_path, b'{"topic":"t","offset":0,' + value + b"}")
    assert row["value"] == expected


@pytest.mark.parametrize(
    ("line", "error_class"),
    [
        (b"not json", "not_json"),
        (b'{"topic":"t","offset":1,"value":NaN}', "not_json"),
        (b"[" * 200_000, "not_json"),
        (b'{"topic":"t","offset":1,"value":"\xff"}', "invalid_utf8"),
        (b"[1]", "not_a_record"),
        (b'{"offset":1,"value":null}', "not_a_record"),
        (b'{"topic":7,"offset":1,"value":null}', "not_a_record"),
        (b'{"topic":"t","value":null}', "not_a_record"),
        (b'{"topic":"t","offset":"1","value":null}', "not_a_record"),
        (b'{"topic":"t","offset":true,"value":null}', "not_a_record"),
        (b'{"topic":"t","offset":1,"partition":4294967296,"value":null}', "not_a_record"),
        (b'{"topic":"t","offset":1,"timestamp":"today","value":null}', "not_a_record"),
        (b'{"topic":"t","offset":1,"timestamp":99999999999999999999,"value":null}', "not_a_record"),
        (b'{"topic":"t","offset":1,"timestamp":1690999999000000,"value":null}', "not_a_record"),  # microseconds
        (rb'{"topic":"t\ud800","offset":1,"value":null}', "not_a_record"),
        (rb'{"topic":"t","offset":1,"headers":{"h\ud800":"x"},"value":null}', "not_a_record"),
        (rb'{"topic":"t","offset":1,"headers":[{"key":"h\ud800","value":"x"}],"value":null}', "not_a_record"),
        (b'{"topic":"t","offset":1,"headers":"x","value":null}', "not_a_record"),
        (b'{"topic":"t","offset":1,"value_base64":"%"}', "not_a_record"),
        (b'{"topic":"t","offset":1,"value":"\\ud800"}', "not_a_record"),
        (b'{"topic":"t","offset":1}', "not_a_record"),
    ],
)
def test_a_line_that_cannot_be_read_is_kept_with_its_reason(tmp_path: Path, line: bytes, error_class: str) -> None:
    first, bad, last = rows_of(tmp_path, b"\n".join([GOOD, line, GOOD]))
    assert first == last
    assert (bad["topic"], bad["partition"], bad["offset"], bad["key"]) == ("file:a.jsonl", 0, 2, None)
    assert bad["value"] == line
    assert error_of(bad) == error_class


def test_a_bad_line_of_a_file_with_an_odd_name_is_kept_too() -> None:
    (row,) = records_of("caf\udce9.jsonl", [Line(1, b"not json")]).to_pylist()
    assert (row["topic"], error_of(row)) == ("file:caf\\udce9.jsonl", "not_json")


def test_blank_lines_a_byte_order_mark_and_windows_line_ends_are_no_trouble(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, b"\xef\xbb\xbf" + GOOD + b"\r\n\r\n  \n" + GOOD)
    assert [row["value"] for row in rows] == [b'{"op":"c"}', b'{"op":"c"}']


def test_an_empty_file_has_no_records(tmp_path: Path) -> None:
    assert rows_of(tmp_path, b"") == []
    assert rows_of(tmp_path, b"", "a.jsonl.gz") == []


def test_a_truncated_gzip_keeps_its_complete_lines_and_says_so(tmp_path: Path) -> None:
    words = [sha256(b"%d" % i).hexdigest()[:19].encode() for i in range(5_000)]
    lines = [b'{"topic":"t","offset":%d,"value":"%s"}' % line for line in enumerate(words)]
    whole = gzip.compress(b"\n".join(lines))
    *kept, last = rows_of(tmp_path, whole[: len(whole) // 2], "a.jsonl.gz")
    assert [row["offset"] for row in kept] == list(range(len(kept)))
    assert 2_000 < len(kept) < 3_000
    assert error_of(last) == "truncated_file"
    assert lines[len(kept)].startswith(last["value"])


def test_a_damaged_gzip_says_so(tmp_path: Path) -> None:
    whole = bytearray(gzip.compress(GOOD + b"\n"))
    whole[-6] ^= 0xFF  # the length and check sum stand at the end
    first, last = rows_of(tmp_path, bytes(whole), "a.jsonl.gz")
    assert first["topic"] == "t"
    assert error_of(last) == "corrupt_file"
    (only,) = rows_of(tmp_path, GOOD, "b.jsonl.gz")
    assert error_of(only) == "corrupt_file"


def test_a_slice_of_a_file_is_its_lines_from_start_to_stop(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join(GOOD.replace(b'"offset":1', b'"offset":%d' % i) for i in range(10)))
    assert read_records(path, 3, 6).column("offset").to_pylist() == [3, 4, 5]
    assert read_records(path, 8).column("offset").to_pylist() == [8, 9]
    assert read_records(path, 10).num_rows == 0


def test_a_line_of_ten_megabytes_passes(tmp_path: Path) -> None:
    (row,) = rows_of(tmp_path, b'{"topic":"t","offset":0,"value":"' + b"x" * 10_000_000 + b'"}')
    assert len(row["value"]) == 10_000_000


@pytest.mark.parametrize("name", ["b.jsonl", "b.jsonl.gz"])
def test_what_is_written_reads_the_same(tmp_path: Path, name: str) -> None:
    at = datetime(2024, 5, 1, 12, 0, 0, 123000, tzinfo=UTC)
    bodies = [
        b'{"op":"c"}',
        b'{ "op": "c" }',
        b"\xff\x00",
        None,
        b"null",
        b'"text"',
        b"text",
        b"7",
        b"",
        b'{"a":"\\ud800"}',
    ]
    headers = [
        [],
        [{"key": "a", "value": b"x"}, {"key": "b", "value": None}],
        [{"key": "a", "value": b"1"}, {"key": "a", "value": b"\xff"}],
    ]
    rows = [
        {
            "topic": "t",
            "partition": i,
            "offset": i,
            "timestamp": at if i else None,
            "key": body,
            "value": body,
            "headers": headers[i % 3],
        }
        for i, body in enumerate(bodies)
    ]
    records = pa.Table.from_pylist(rows, RECORDS)
    write_records(tmp_path / name, records)
    assert read_records(tmp_path / name).to_pylist() == records.to_pylist()
    assert [p.name for p in tmp_path.iterdir()] == [name]
