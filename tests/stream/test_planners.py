"""The plan on the driver and the plan on the executors are one answer."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession

from jude.changes.recorded import read_records
from jude.encoder import EncoderSpec, open_tokeniser
from jude.stream.executors import plan_in_executors
from jude.stream.micro_batch import apply_batch
from jude.stream.planned import PlannedBatch, plan_on_driver
from jude.tables.protocol import Txn
from tests.memory import MemoryOnline, MemoryTables
from tests.stories import PLACEHOLDER, delete, entities, envelope, job, record, records, tombstone, upsert
from tests.stream.making import make_pipeline

SAMPLE = Path(__file__).parent.parent.parent / "data" / "sample"
SPEC = EncoderSpec(
    kind="hashing", max_tokens=64, width=8, dtype="float32", batch_tokens=4096, threads=None,
    prompts={}, render_versions={e.name: e.render_version for e in entities().values()},
)  # fmt: skip


def pipeline(tables: MemoryTables, **more: Any) -> Any:
    return make_pipeline(tables, MemoryOnline(), tokeniser=open_tokeniser(SPEC), **more)


def frame(spark: SparkSession, table: pa.Table) -> DataFrame:
    return spark.createDataFrame(table).repartition(3)


def rows(batch: PlannedBatch) -> list[dict[str, Any]]:
    """Planned rows without their place in the batch, in a fixed order."""
    found = batch.planned.drop_columns("record").to_pylist()
    return sorted(found, key=lambda r: (r["topic"] or "", r["partition"] or 0, r["offset"], r["entity_id"] or ""))


def sample(names: Iterable[str]) -> pa.Table:
    return pa.concat_tables([read_records(SAMPLE / name) for name in names])


@pytest.mark.spark
def test_both_planners_give_one_answer_on_the_sample(spark: SparkSession):
    first, second, *_ = sorted(p.name for p in SAMPLE.glob("*.jsonl.gz"))
    tables = MemoryTables()
    apply_batch(lambda: plan_on_driver(sample([first]), pipeline(tables)), pipeline(tables), Txn("stream", "q", 0))
    batch = sample([second])
    on_driver = plan_on_driver(batch, pipeline(tables))
    in_executors = plan_in_executors(frame(spark, batch).cache(), pipeline(tables), SPEC, 4)
    assert rows(in_executors) == rows(on_driver)
    assert in_executors.control == on_driver.control
    assert {r["reason"] for r in rows(on_driver)} >= {"changed", "unchanged", "superseded"}


@pytest.mark.spark
def test_chains_of_key_changes_bad_records_and_truncates_are_planned_alike(spark: SparkSession):
    tables = MemoryTables()
    first = records([upsert("j1", 10, job("A", "Long text.")), upsert("j9", 11, job("B"))])
    stop = pipeline(tables, truncate="delete_all")
    apply_batch(lambda: plan_on_driver(first, stop), stop, Txn("stream", "q", 0))
    batch = records([
        delete("j1", 20, tx_order=1), tombstone("j1", 21),
        upsert("j2", 20, job("A", PLACEHOLDER), op="c", tx_order=2, old="j1", offset=22),
        delete("j2", 30, tx_order=1), upsert("j3", 30, job("A", PLACEHOLDER), op="c", tx_order=2, old="j2", offset=31),
        record({"id": "j4"}, b"{broken", offset=40), record(None, envelope("t", None, 25), offset=41),
        record(None, {"op": "m", "source": {}}, offset=42), record(None, envelope("t", None, -1), offset=43),
    ])  # fmt: skip
    on_driver = plan_on_driver(batch, stop)
    in_executors = plan_in_executors(frame(spark, batch).cache(), stop, SPEC, 4)
    assert rows(in_executors) == rows(on_driver)
    assert in_executors.control == on_driver.control == 1
    quarantined = in_executors.planned.filter(pa.compute.equal(in_executors.planned["reason"], "quarantined"))
    assert sorted(quarantined["error_class"].to_pylist()) == ["bad_lsn", "not_json"]
    assert b"{broken" in in_executors.raw(quarantined)["value"].to_pylist()
