"""Dying after any arrow of the batch and starting again: tables, online store, ledger as if nothing happened."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from jude.online import Put
from jude.online.sqlite import SqliteStore
from jude.output import EmbeddingChange, read_record, write_record
from jude.stream.micro_batch import apply_batch
from jude.stream.planned import plan_on_driver
from jude.tables.native import NativeTables
from jude.tables.protocol import Tables, Txn
from jude.tables.spark_tables import SparkTables
from jude.tables.spec import TABLES
from tests.stories import NOW, Record, delete, job, record, records, tombstone, upsert
from tests.stream.making import make_pipeline
from tests.stream.reading import rows_of

ARROWS = (
    "plan", "encode", "store", "online", "text_history", "embedding_history", "quarantine", "output", "ledger",
    "current",
)  # fmt: skip
CLOCKS = ("ingested_at", "embedded_at", "available_at", "started_at", "quarantined_at", "seconds", "freshness")

BATCHES: list[list[Record]] = [
    [upsert("j1", 10, job("Baker")), upsert("j2", 11, job("Cook")), upsert("j3", 12, job("Cook"))],
    [
        upsert("j1", 20, job("Baker", "Bakes cakes.")),
        upsert("j1", 21, job("Baker", "Bakes more cakes.")),
        upsert("j2", 22, job("Cook", status="closed")),
        delete("j3", 23),
        tombstone("j3", 24),
        record({"id": "j4"}, b"{broken", offset=25),
        upsert("j5", 26, job("Cook")),
    ],
    [upsert("j3", 30, job("Cook")), upsert("j5", 31, job("Driver"))],
]


class CrashError(Exception):
    """The process dies here."""


class Topic:
    """Every record that was ever published, as bytes; a topic never takes one back."""

    def __init__(self) -> None:
        self.records: list[Any] = []

    def publish(self, changes: Iterable[EmbeddingChange]) -> None:
        self.records += [write_record(change, "protobuf") for change in changes]

    def close(self) -> None: ...

    def copied_to(self, store: SqliteStore) -> SqliteStore:
        """What a consumer holds that reads everything, a part of it twice."""
        for each in [*self.records, *self.records[1::2]]:
            change = read_record(*each)
            key = (change.model_version, change.entity_type, change.entity_id, change.position)
            store.put_many([Put(*key, change.vector, change.dtype, change.dim)], NOW)
        return store


OpenTables = Callable[[Path], Tables]


def native_tables(root: Path) -> Tables:
    return NativeTables(root, buckets=2)


class Deployment:
    """Tables and online store in a folder; opening it again is a restart."""

    def __init__(self, folder: Path, open_tables: OpenTables = native_tables, part_tokens: int | None = None) -> None:
        self.folder, self.part_tokens = folder, part_tokens
        self.open_tables = open_tables
        self.encoded: list[str] = []
        self.topic = Topic()
        self._ticks = itertools.count()

    def apply(
        self, number: int, query: str = "q1", after: Callable[[str], None] = lambda step: None,
        batches: Sequence[list[Record]] = BATCHES,
    ) -> None:  # fmt: skip
        tables = self.open_tables(self.folder / "tables")
        tables.ensure()
        online = SqliteStore(self.folder / "online.sqlite")
        try:
            pipeline = self._pipeline(tables, online, after)
            batch = records(batches[number])
            apply_batch(lambda: plan_on_driver(batch, pipeline), pipeline, Txn("stream", query, number))
        finally:
            online.close()

    def _pipeline(self, tables: Tables, online: SqliteStore, after: Callable[[str], None]) -> Any:
        plain = make_pipeline(tables, online)

        def encode(inputs: Any) -> Any:
            self.encoded += inputs
            return plain.encode(inputs)

        def clock() -> datetime:
            return NOW + timedelta(seconds=next(self._ticks))

        attempts = self.folder / "jude.attempt"
        parts = {"encode": encode, "after": after, "attempts_file": attempts, "output": self.topic}
        return make_pipeline(tables, online, clock, part_tokens=self.part_tokens, **parts)

    def contents(self) -> dict[str, list[dict[str, Any]]]:
        """Every table without its clocks, in a fixed order."""
        return {name: rows_of(self.folder / "tables", name, without=CLOCKS) for name in TABLES}


def crash_after(arrow: str) -> Callable[[str], None]:
    def after(step: str) -> None:
        if step == arrow:
            raise CrashError(step)

    return after


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    deployment = Deployment(tmp_path_factory.mktemp("uninterrupted"))
    for number in range(len(BATCHES)):
        deployment.apply(number)
    return deployment


@pytest.mark.parametrize("arrow", ARROWS)
def test_a_crash_after_any_arrow_leaves_no_trace(arrow: str, tmp_path: Path, uninterrupted: Deployment):
    deployment = Deployment(tmp_path)
    deployment.apply(0)
    with pytest.raises(CrashError):
        deployment.apply(1, after=crash_after(arrow))
    deployment.apply(1)
    deployment.apply(2)
    assert without_repeats(deployment.contents()) == without_repeats(uninterrupted.contents())
    assert repeats(deployment) == (1 if arrow == "encode" else 0)
    assert served_times(deployment) == history_times(deployment)
    assert everything(deployment.topic.copied_to(SqliteStore(tmp_path / "copy.sqlite"))) == everything(
        SqliteStore(deployment.folder / "online.sqlite")
    )


@pytest.mark.parametrize("arrow", ["encode", "store", "online", "quarantine", "current"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_crash_between_the_parts_of_a_batch_leaves_no_trace(arrow: str, times: int, tmp_path: Path):
    """The second batch encodes two parts: the first is stored and readable when the process dies in the second."""
    story = [BATCHES[0], [upsert("j1", 20, job("Gardener")), upsert("j2", 21, job("Pilot")), delete("j3", 22)]]
    whole, crashing = Deployment(tmp_path / "whole"), Deployment(tmp_path / "crashing", part_tokens=1)
    for number in range(len(story)):
        whole.apply(number, batches=story)
    crashing.apply(0, batches=story)
    left = itertools.count(times, -1)

    def after(step: str) -> None:
        if step == arrow and next(left) == 1:
            raise CrashError(step)

    with suppress(CrashError):
        crashing.apply(1, after=after, batches=story)
    crashing.apply(1, batches=story)
    assert without_repeats(crashing.contents()) == without_repeats(whole.contents())
    assert repeats(crashing) == (1 if arrow == "encode" else 0)
    assert served_times(crashing) == history_times(crashing)


@pytest.mark.spark
def test_the_spark_writer_crashes_after_each_arrow_of_one_batch(tmp_path: Path, spark: SparkSession):
    """Each attempt at the second batch comes one arrow further than the one before it."""
    story = [everything_at(100 * (number + 1)) for number in range(3)]
    alone, crashing = Deployment(tmp_path / "alone"), Deployment(tmp_path / "crashing", spark_tables(spark))
    for number in range(len(story)):
        alone.apply(number, batches=story)
    crashing.apply(0, batches=story)
    for arrow in ARROWS:
        with pytest.raises(CrashError):
            crashing.apply(1, after=crash_after(arrow), batches=story)
    crashing.apply(1, batches=story)
    crashing.apply(2, batches=story)
    assert without_repeats(crashing.contents()) == without_repeats(alone.contents())
    assert served_times(crashing) == history_times(crashing)


def everything_at(lsn: int) -> list[Record]:
    """A batch in which something of every kind happens."""
    return [
        upsert("j1", lsn, job("Baker", f"Bakes {lsn} cakes.")),
        upsert("j1", lsn + 1, job("Baker", f"Bakes more than {lsn} cakes.")),
        upsert("j2", lsn + 2, job("Cook", status=f"seen at {lsn}")),
        delete("j3", lsn + 3),
        upsert("j3", lsn + 4, job("Cook")),
        delete("j4", lsn + 5),
        tombstone("j4", lsn + 6),
        record({"id": "j5"}, b"{broken", offset=lsn + 7),
        upsert(f"j{lsn}", lsn + 8, job("Driver")),
    ]


def spark_tables(spark: SparkSession) -> OpenTables:
    return lambda root: SparkTables(spark, buckets=2, root=str(root))


def test_a_crash_before_the_store_is_counted_as_repeated_work(tmp_path: Path):
    deployment = Deployment(tmp_path)
    deployment.apply(0)
    with pytest.raises(CrashError):
        deployment.apply(1, after=crash_after("encode"))
    paid = len(deployment.encoded)
    deployment.apply(1)
    assert len(deployment.encoded) - paid == repeats(deployment) == 1


@pytest.mark.parametrize("arrow", ["embedding_history", "ledger"])
def test_a_crash_followed_by_a_lost_checkpoint_doubles_nothing(arrow: str, tmp_path: Path, uninterrupted: Deployment):
    deployment = Deployment(tmp_path)
    deployment.apply(0)
    with pytest.raises(CrashError):
        deployment.apply(1, after=crash_after(arrow))
    for number in range(len(BATCHES)):
        deployment.apply(number, query="q2")
    found, wanted = deployment.contents(), uninterrupted.contents()
    for name in ("text_history", "embedding_history", "embedding_store", "embedding_current"):
        assert without_writers(found[name]) == without_writers(wanted[name])


def test_a_new_checkpoint_over_the_same_input_changes_nothing(tmp_path: Path):
    deployment = Deployment(tmp_path)
    for number in range(len(BATCHES)):
        deployment.apply(number)
    before, paid = deployment.contents(), len(deployment.encoded)
    for number in range(len(BATCHES)):
        deployment.apply(number, query="q2")
    after = deployment.contents()
    for name in ("text_history", "embedding_history", "embedding_store", "embedding_current"):
        assert after[name] == before[name]
    assert len(deployment.encoded) == paid


def without_repeats(contents: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    ledger = [{**row, "inferences_repeated": 0} for row in contents["ledger"]]
    return {**contents, "ledger": sorted(ledger, key=str)}


def without_writers(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if not k.startswith("writer_")} for row in rows]


def repeats(deployment: Deployment) -> int:
    return sum(row["inferences_repeated"] for row in deployment.contents()["ledger"])


def everything(store: SqliteStore) -> list[Any]:
    """What readers of a store get, tombstones included."""
    rows = list(store._reader.execute("SELECT entity_type, entity_id, position, value FROM vectors ORDER BY 1, 2"))
    store.close()
    assert rows
    return rows


def history_times(deployment: Deployment) -> dict[tuple[str, str], Any]:
    """When each pointer became readable, as history tells it; the newest per key."""
    rows = sorted(rows_of(deployment.folder / "tables", "embedding_history"), key=lambda r: r["position"])
    return {(r["entity_type"], r["entity_id"]): r["available_at"] for r in rows}


def served_times(deployment: Deployment) -> dict[tuple[str, str], Any]:
    """The same, as embedding_current tells it."""
    rows = rows_of(deployment.folder / "tables", "embedding_current")
    return {(r["entity_type"], r["entity_id"]): r["available_at"] for r in rows if r["available_at"] is not None}
