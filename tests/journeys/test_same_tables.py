"""One input, many ways: any source, planner, writer, checkpoint and batch cut gives the same tables."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from jude.changes.recorded import read_records
from tests.stack.kafka import KafkaBroker, kafka_broker, produce
from tests.stories import CONF
from tests.stream.reading import rows_of
from tests.stream.test_bad_input import check_ledger
from tests.stream.test_crashes import CLOCKS
from tests.stream.test_stream import RUN, Deployment

__all__ = ["kafka_broker"]

pytestmark = [pytest.mark.spark, pytest.mark.timeout(900)]  # seconds on a quiet machine

SAMPLE = CONF.parent / "data" / "sample"
FIRST_FILES = ("0001-snapshot.jsonl.gz", "0002-changes.jsonl.gz")
PLACE = ("topic", "partition", "offset", "quarantine_id")


def new_query(deployment: Deployment) -> None:
    """The checkpoint is lost: the next run is another query, from the beginning."""
    shutil.rmtree(deployment.folder / "checkpoint")


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The snapshot and the first changes of the sample: deletes, key changes, placeholders, control records."""
    folder = tmp_path_factory.mktemp("cut")
    for name in FIRST_FILES:
        shutil.copy(SAMPLE / name, folder)
    return folder


@pytest.fixture(scope="module")
def reference(spark: SparkSession, cut: Path, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """Native writer, driver planner, three batches."""
    deployment = Deployment(tmp_path_factory.mktemp("reference"), cut)
    batches = deployment.run(spark)
    assert [applied.txn.version for applied in batches] == [0, 1, 2]
    return deployment


def test_the_reference_is_worth_comparing_with(reference: Deployment):
    contents = reference.contents()
    status = Counter(row["status"] for row in contents["embedding_current"])
    assert status["live"] > 200
    assert status["deleted"] > 20
    assert {row["entity_type"] for row in contents["embedding_current"]} == {"job", "member", "resume"}
    reasons = Counter[str]()
    for row in rows_of(reference.tables, "ledger"):
        reasons.update(
            {name: row[name] for name in ("control", "unchanged", "superseded", "stale", "deleted", "changed")}
        )
    assert min(reasons.values()) > 0
    check_ledger(reference.tables, 228 + 700 - reasons["control"])


def test_the_executors_planner_gives_the_same_tables(
    spark: SparkSession, cut: Path, reference: Deployment, tmp_path: Path
):
    deployment = Deployment(tmp_path, cut)
    deployment.run(spark, "stream.planner=executors")
    assert deployment.contents() == reference.contents()
    assert counts(deployment) == counts(reference)


def test_the_spark_writer_gives_the_same_tables(spark: SparkSession, cut: Path, reference: Deployment, tmp_path: Path):
    deployment = Deployment(tmp_path, cut)
    deployment.run(spark, "tables.writer=spark")
    assert deployment.contents() == reference.contents()
    assert counts(deployment) == counts(reference)


def test_a_new_checkpoint_and_a_second_query_with_other_batches_change_nothing(
    spark: SparkSession, cut: Path, reference: Deployment, tmp_path: Path
):
    deployment = Deployment(tmp_path, cut)
    shutil.copytree(reference.tables, deployment.tables)
    # A delete that is read again takes the next offset for its tombstone: bookkeeping, of deleted keys only.
    before = deployment.contents(without=["offset"])
    for overrides in ((), ("source.max_offsets_per_trigger=550", "stream.planner=executors")):
        batches = deployment.run(spark, *overrides)
        assert len(batches) > 1
        assert sum(c.inferences for applied in batches for c in applied.counts.values()) == 0
        assert deployment.contents(without=["offset"]) == before
        new_query(deployment)


def test_kafka_gives_the_same_tables(
    spark: SparkSession, kafka_broker: KafkaBroker, cut: Path, reference: Deployment, tmp_path: Path
):
    """Topics and partitions are read one after the other there: other batches, the same histories and state."""
    for name in FIRST_FILES:
        produce(kafka_broker, read_records(cut / name).to_pylist())
    deployment = Deployment(tmp_path, cut)
    deployment.run(
        spark,
        "source.kind=kafka",
        f"source.kafka.bootstrap_servers={kafka_broker.bootstrap_servers}",
        r"source.kafka.pattern=jude\.public\..*|jude\.transaction|__debezium-heartbeat\.jude",
        "source.max_offsets_per_trigger=2000",
    )
    found, wanted = deployment.contents((*RUN, *PLACE)), reference.contents((*RUN, *PLACE))
    for name in ("text_history", "embedding_current", "quarantine"):
        assert found[name] == wanted[name], name
    pointers = {row["input_hash"] for row in wanted["embedding_current"]} - {None}
    assert pointers <= {row["input_hash"] for row in found["embedding_store"]}


def counts(deployment: Deployment) -> list[dict[str, Any]]:
    return rows_of(deployment.tables, "ledger", (*CLOCKS, "writer_query"))
