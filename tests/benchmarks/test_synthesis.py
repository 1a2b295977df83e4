"""Copies of a stream are the same history of other entities, later in the log."""

from __future__ import annotations

import gzip
from pathlib import Path

import orjson
import pyarrow as pa

from benchmarks.changes.streams import Record, as_table, entities
from benchmarks.changes.synthesis import PLACEHOLDER, base_records, write_copies
from jude.changes.decode import decode
from tests.stories import NOW


def lines_of(path: Path) -> list[Record]:
    with gzip.open(path) as lines:
        return [orjson.loads(line) for line in lines]


def test_copies_have_their_own_keys_texts_and_places_in_the_log(tmp_path: Path):
    base = base_records(tmp_path / "absent", 400)  # the shipped sample
    assert len(base) == 400
    assert {r["topic"] for r in base} == {"jude.public.members", "jude.public.jobs"}
    assert write_copies(base, tmp_path / "changes", 3) == 1200
    copies = [lines_of(path) for path in sorted((tmp_path / "changes").iterdir())]
    first, _, third = copies
    decoded = decode(as_table([r for copy in copies for r in copy]), entities(), 0, NOW).changes
    assert decoded["error_class"].null_count == decoded.num_rows == 1200
    assert {r["key"]["id"] for r in first}.isdisjoint(r["key"]["id"] for r in third)
    assert {k.rpartition("~")[2] for k in decoded["entity_id"].to_pylist()} == {"0", "1", "2"}
    places = set(zip(*(decoded[c].to_pylist() for c in ("topic", "partition", "offset")), strict=True))
    assert len(places) == 1200
    values = [(a["value"], b["value"]) for a, b in zip(first, third, strict=True) if a["value"]]
    assert all(a["source"]["lsn"] < b["source"]["lsn"] and a["op"] == b["op"] for a, b in values)
    assert any(
        PLACEHOLDER in a["after"].values() and PLACEHOLDER in b["after"].values() for a, b in values if a["after"]
    )


def test_key_changes_of_a_copy_stay_within_it(tmp_path: Path):
    base = [r for r in base_records(tmp_path / "absent") if r["headers"]]
    assert base
    write_copies(base, tmp_path / "changes", 2)
    second = lines_of(tmp_path / "changes" / "00001.jsonl.gz")
    old_ids = decode(as_table(second), entities(), 0, NOW).changes["old_entity_id"]
    assert pa.compute.all(pa.compute.ends_with(old_ids.drop_null(), "~1")).as_py()
    assert old_ids.null_count < len(old_ids)
