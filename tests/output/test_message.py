"""A change written as a record reads back the same, in both formats."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from jude.output import EmbeddingChange, read_record, write_record

AT = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
CHANGE = EmbeddingChange(
    "job", "a/b é", "m1", "00000000-0000000000000010-1-00000000-0000000000000000", b"\x00\x00\x80\x3f", "float32", 1,
    "th", "ih", "stream", AT, AT, AT, None,
)  # fmt: skip


@pytest.mark.parametrize("form", ["protobuf", "json"])
@pytest.mark.parametrize("change", [CHANGE, replace(CHANGE, text_hash=None, source_ts=None, available_at=AT)])
def test_a_change_comes_back_as_it_was(form: Any, change: EmbeddingChange) -> None:
    assert read_record(*write_record(change, form)) == change


@pytest.mark.parametrize("form", ["protobuf", "json"])
def test_a_delete_is_a_tombstone_that_keeps_its_position(form: Any) -> None:
    record = write_record(replace(CHANGE, vector=None), form)
    assert record.value is None
    assert read_record(*record) == EmbeddingChange("job", "a/b é", "m1", CHANGE.position)


def test_one_entity_has_one_key_whatever_the_version_and_format() -> None:
    other = replace(CHANGE, model_version="m2")
    keys = {write_record(CHANGE, "protobuf").key, write_record(CHANGE, "json").key, write_record(other, "json").key}
    assert keys == {b"job/a/b \xc3\xa9"}


def test_json_is_for_people_and_other_languages() -> None:
    value = orjson.loads(write_record(CHANGE, "json").value or b"")
    assert (value["entity_id"], value["vector"], value["dim"]) == ("a/b é", "AACAPw==", 1)
    assert value["source_ts"] == "2026-03-01T12:00:00.123456+00:00"


@pytest.mark.parametrize(
    ("key", "value", "headers"),
    [
        (b"no-slash", None, [("jude.position", b"1"), ("jude.model_version", b"m1")]),
        (b"job/j1", b"", []),
        (b"job/j1", b"\xff\xff", [("jude.position", b"1"), ("jude.model_version", b"m1")]),
    ],
)
def test_a_foreign_record_is_refused(key: bytes, value: bytes | None, headers: list[tuple[str, bytes]]) -> None:
    with pytest.raises(ValueError, match=r"no embedding change|no jude\.embeddings\.v1"):
        read_record(key, value, headers)
