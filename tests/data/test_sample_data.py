"""The shipped files are what their README says, and read like what a real Debezium chain writes."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest

from scripts.build_sample_data import build_companies, build_sample
from scripts.debezium_recorder import PLACEHOLDER, Record
from scripts.sample_report import counts_table

ROOT = Path(__file__).parents[2]
SETS = {"sample": ROOT / "data" / "sample", "companies": ROOT / "data" / "sample-companies"}
HISTORIES = ROOT.parent / "shared" / "data"


def read(folder: Path) -> list[Record]:
    lines: list[str] = []
    for path in sorted(folder.glob("*.jsonl.gz")):
        lines += gzip.decompress(path.read_bytes()).decode().splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module", params=list(SETS))
def records(request: pytest.FixtureRequest) -> list[Record]:
    return read(SETS[request.param])


@pytest.fixture(scope="module")
def sample() -> list[Record]:
    return read(SETS["sample"])


def changes(records: list[Record]) -> list[Record]:
    return [record for record in records if record["topic"].startswith("jude.public.") and record["value"]]


def order(record: Record) -> tuple[int, int]:
    transaction = record["value"]["transaction"]
    return record["value"]["source"]["lsn"], transaction["total_order"] if transaction else 0


def test_every_line_is_a_record_of_the_documented_form(records: list[Record]) -> None:
    columns = ["topic", "partition", "offset", "timestamp", "headers", "key", "value"]
    assert [list(record) for record in records] == [columns] * len(records)
    assert all(1_500_000_000_000 < record["timestamp"] < 1_800_000_000_000 for record in records)
    assert all(isinstance(header, str) for record in records for header in record["headers"].values())


def test_offsets_count_up_without_a_gap_in_each_partition(records: list[Record]) -> None:
    offsets: dict[tuple[str, int], list[int]] = defaultdict(list)
    for record in records:
        offsets[record["topic"], record["partition"]].append(record["offset"])
    assert all(found == list(range(len(found))) for found in offsets.values())
    assert len({partition for topic, partition in offsets if topic.startswith("jude.public.")}) == 3


def test_lsn_and_total_order_rise_per_key_but_lsns_do_not_rise_per_topic(records: list[Record]) -> None:
    per_key: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    per_topic: dict[str, list[int]] = defaultdict(list)
    for record in changes(records):
        per_key[record["topic"], record["key"]["id"]].append(order(record))
        per_topic[record["topic"]].append(order(record)[0])
    assert all(found == sorted(set(found)) for found in per_key.values())
    assert all(found != sorted(found) for found in per_topic.values())


def test_snapshot_rows_share_one_lsn_and_have_no_transaction(sample: list[Record]) -> None:
    snapshots: dict[int, list[Record]] = defaultdict(list)
    for record in changes(sample):
        if record["value"]["op"] == "r":
            snapshots[record["value"]["source"]["txId"]].append(record)
    first, second = snapshots.values()
    assert {record["topic"] for record in first} == {f"jude.public.{t}" for t in ("jobs", "members", "resumes")}
    assert {record["topic"] for record in second} == {"jude.public.jobs"}
    for rows in (first, second):
        assert len({record["value"]["source"]["lsn"] for record in rows}) == 1
        assert {record["value"]["transaction"] for record in rows} == {None}
        assert rows[0]["value"]["source"]["snapshot"] == "first"
        assert rows[-1]["value"]["source"]["snapshot"] == "last"


def test_each_delete_is_followed_by_its_tombstone_and_invents_all_but_the_key(records: list[Record]) -> None:
    deletes = 0
    for record, following in pairwise(records):
        if record["value"] is None or record["value"].get("op") != "d":
            assert following["value"] is not None, "a tombstone without its delete"
            continue
        deletes += 1
        assert (following["topic"], following["key"], following["value"]) == (record["topic"], record["key"], None)
        assert following["offset"] == record["offset"] + 1
        before = record["value"]["before"]
        assert before["id"] == record["key"]["id"]
        assert before["updated_at"] == "1970-01-01T00:00:00Z"
        assert record["value"]["after"] is None
    assert deletes > 1


def test_a_key_change_is_delete_tombstone_create_with_one_lsn(sample: list[Record]) -> None:
    key_changes, with_placeholder = 0, 0
    for i, record in enumerate(sample):
        if "__debezium.newkey" not in record["headers"]:
            continue
        key_changes += 1
        delete, tombstone, create = sample[i : i + 3]
        assert (delete["value"]["op"], tombstone["value"], create["value"]["op"]) == ("d", None, "c")
        assert json.loads(delete["headers"]["__debezium.newkey"]) == create["key"]
        assert json.loads(create["headers"]["__debezium.oldkey"]) == delete["key"] == tombstone["key"]
        (lsn, first), (same_lsn, second) = order(delete), order(create)
        assert (same_lsn, second) == (lsn, first + 1)
        assert delete["value"]["source"]["txId"] == create["value"]["source"]["txId"]
        with_placeholder += PLACEHOLDER in create["value"]["after"].values()
    assert key_changes == 37
    assert 0 < with_placeholder < key_changes


def test_keys_change_twice_and_deleted_keys_come_back(sample: list[Record]) -> None:
    was_new: set[str] = set()
    chained, deleted, returned = 0, set(), 0
    for record in changes(sample):
        key, op = record["key"]["id"], record["value"]["op"]
        if "__debezium.newkey" in record["headers"]:
            chained += key in was_new
        if "__debezium.oldkey" in record["headers"]:
            was_new.add(key)
        if op == "d":
            deleted.add((record["topic"], key))
        returned += op == "c" and (record["topic"], key) in deleted
    assert chained >= 3
    assert returned >= 5


def test_a_placeholder_stands_for_a_long_text_that_the_key_had_before(records: list[Record]) -> None:
    known: dict[tuple[str, str], Record] = {}
    restored = 0
    for record in changes(records):
        key, value, old = record["key"]["id"], record["value"], record["headers"].get("__debezium.oldkey")
        if value["after"] is None:
            continue
        past = known.get((record["topic"], json.loads(old)["id"] if old else key), {})
        for column, sent in value["after"].items():
            if sent == PLACEHOLDER:
                assert value["op"] == "u" or old
                assert len(past[column].encode()) > 2000
                restored += 1
        row = {name: past[name] if sent == PLACEHOLDER else sent for name, sent in value["after"].items()}
        known[record["topic"], key] = row
    assert restored > 5


def test_changes_of_one_transaction_count_up_and_differ_in_the_transaction_id(sample: list[Record]) -> None:
    transactions: dict[int, list[Record]] = defaultdict(list)
    for record in changes(sample):
        if record["value"]["op"] != "r":
            transactions[record["value"]["source"]["txId"]].append(record["value"])
    assert max(len(values) for values in transactions.values()) > 100
    for tx_id, values in transactions.items():
        assert [value["transaction"]["total_order"] for value in values] == list(range(1, len(values) + 1))
        for value in values:
            assert value["transaction"]["id"] == f"{tx_id}:{value['source']['lsn']}"
            last_commit, lsn = json.loads(value["source"]["sequence"])
            assert lsn == str(value["source"]["lsn"])
            assert last_commit is None or last_commit.isdigit()


def test_updates_carry_no_before(records: list[Record]) -> None:
    updates = [record["value"] for record in changes(records) if record["value"]["op"] == "u"]
    assert len(updates) > 200
    assert {value["before"] for value in updates} == {None}


def test_control_records_lie_between_the_changes(sample: list[Record]) -> None:
    topics = [record["topic"] for record in sample if not record["topic"].startswith("jude.public.")]
    assert {"__debezium-heartbeat.jude", "jude.transaction"} == set(topics)
    begun = [r["value"]["id"] for r in sample if r["topic"] == "jude.transaction" and r["value"]["status"] == "BEGIN"]
    ended = [r["value"]["id"] for r in sample if r["topic"] == "jude.transaction" and r["value"]["status"] == "END"]
    assert begun == ended


def test_resumes_say_that_they_are_composed(sample: list[Record]) -> None:
    rows = [r["value"]["after"] for r in changes(sample) if r["topic"] == "jude.public.resumes" and r["value"]["after"]]
    assert {row["source"] for row in rows} == {"composed"}


def test_some_skills_differ_in_their_order_only(sample: list[Record]) -> None:
    orders: dict[tuple[str, ...], set[tuple[str, ...]]] = defaultdict(set)
    for record in changes(sample):
        if record["topic"] == "jude.public.resumes" and record["value"]["after"]:
            skills = record["value"]["after"]["skills"]
            orders[tuple(sorted(skills))].add(tuple(skills))
    assert sum(len(found) > 1 for found in orders.values()) > 20


@pytest.mark.parametrize("folder", SETS.values(), ids=SETS)
def test_the_readme_tells_the_true_counts(folder: Path) -> None:
    files = {path: len(gzip.decompress(path.read_bytes()).splitlines()) for path in sorted(folder.glob("*.jsonl.gz"))}
    assert (folder / "README.md").read_text("utf-8").endswith(counts_table(read(folder), files))


def test_the_shipped_files_stay_small_and_name_their_licences() -> None:
    assert sum(path.stat().st_size for path in SETS["sample"].iterdir()) < 6_000_000
    assert "CC BY 4.0" in (SETS["sample"] / "ATTRIBUTION").read_text("utf-8")
    assert "Permission to use, copy" in (SETS["companies"] / "ATTRIBUTION").read_text("utf-8")


@pytest.mark.skipif(not HISTORIES.is_dir(), reason="the recorded histories that the sample is built from are not here")
@pytest.mark.parametrize("which", SETS)
def test_building_again_gives_the_shipped_records(which: str, tmp_path: Path) -> None:
    build = {"sample": build_sample, "companies": build_companies}[which]
    build(HISTORIES, tmp_path, 7)
    assert content(tmp_path) == content(SETS[which])


def content(folder: Path) -> dict[str, bytes]:
    """File contents, unpacked: another zlib may pack the same records into other bytes."""
    return {
        path.name: gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for path in folder.iterdir()
    }
