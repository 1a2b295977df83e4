"""Maintenance beside a writer: fewer files, the same rows, and nobody has to plan again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from jude.errors import TerminalTableError
from jude.online import SqliteStore
from jude.stream.micro_batch import apply_batch
from jude.stream.planned import plan_on_driver
from jude.tables.maintenance import maintain, maintain_by_spark
from jude.tables.native import NativeTables
from jude.tables.protocol import Txn
from jude.tables.spec import TABLES
from tests.stories import delete, job, records, upsert
from tests.stream.making import make_pipeline
from tests.stream.reading import rows_of

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

APPENDED = ("text_history", "embedding_store", "embedding_history", "ledger")


def wanted(small_files: int = 4, retention_hours: int = 0) -> Any:
    """Settings of maintenance that may forget at once, which the real ones refuse."""
    return SimpleNamespace(target_mib=128, small_files=small_files, retention_hours=retention_hours)


class Writer:
    """A stream's batches, one after the other, by one process that never opens the tables again."""

    def __init__(self, folder: Path, age: timedelta = timedelta()) -> None:
        self.root = folder / "tables"
        tables = NativeTables(self.root, buckets=2, clock=lambda: datetime.now(UTC) - age)
        tables.ensure()
        self.pipeline = make_pipeline(tables, SqliteStore(folder / "online.sqlite"))
        self.batches = 0

    def write(self, batches: int) -> None:
        for _ in range(batches):
            lsn = 100 * (self.batches + 1)
            rows = [upsert(f"j{n}", lsn + n, job(f"Cook {self.batches}.{n}")) for n in range(3)]
            batch = records([*rows, delete("j2", lsn + 9)])
            apply_batch(partial(plan_on_driver, batch, self.pipeline), self.pipeline,
                        Txn("stream", "q1", self.batches))  # fmt: skip
            self.batches += 1


def files(root: Path, table: str) -> int:
    return len(DeltaTable(str(root / table)).file_uris())


def test_a_pass_between_batches_changes_no_row_and_stops_no_batch(tmp_path: Path) -> None:
    plain, kept = Writer(tmp_path / "plain"), Writer(tmp_path / "kept")
    plain.write(16)
    for _ in range(2):
        kept.write(8)
        done = {each.table: each for each in maintain(str(kept.root), {}, wanted())}
        assert not any(each.yielded for each in done.values())
        assert all(done[name].files_after == 1 < done[name].files_before for name in APPENDED)
        assert all(done[name].vacuumed for name in (*APPENDED, "embedding_current"))
    for name in TABLES:
        assert comparable(kept.root, name) == comparable(plain.root, name), name


def test_few_files_are_left_alone(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.write(3)
    before = {name: files(writer.root, name) for name in APPENDED}
    maintain(str(writer.root), {}, wanted(small_files=32))
    assert {name: files(writer.root, name) for name in APPENDED} == before


def test_readers_keep_replaced_files_for_the_time_of_retention(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.write(8)
    reader = DeltaTable(str(writer.root / "text_history"))
    done = {each.table: each for each in maintain(str(writer.root), {}, wanted(retention_hours=24))}
    assert (done["text_history"].vacuumed, done["text_history"].files_after) == (0, 1)
    assert reader.to_pyarrow_table().num_rows == len(rows_of(writer.root, "text_history"))


@pytest.mark.parametrize(("age_hours", "named"), [(0.5, 6), (1.5, 0)])
def test_the_log_of_current_forgets_what_was_replaced_an_hour_ago(tmp_path: Path, age_hours: float, named: int) -> None:
    """Each checkpoint names every replaced file that is not forgotten yet: those of a week would be millions."""
    writer = Writer(tmp_path, timedelta(hours=age_hours))
    writer.write(4)
    maintain(str(writer.root), {}, wanted(retention_hours=168))
    (checkpoint,) = (writer.root / "embedding_current" / "_delta_log").glob("*.checkpoint.parquet")
    assert pc.count(pq.read_table(checkpoint)["remove"]).as_py() == named


def comparable(root: Path, table: str) -> list[dict[str, object]]:
    return rows_of(root, table, without=("seconds", "started_at", "freshness"))


@pytest.mark.spark
def test_a_pass_by_spark_changes_no_row_and_stops_no_batch(spark: SparkSession, tmp_path: Path) -> None:
    plain, kept = Writer(tmp_path / "plain"), Writer(tmp_path / "kept")
    plain.write(3)
    kept.write(2)
    looked_at = ("text_history", "embedding_current")  # every command of Spark takes seconds
    maintain_by_spark(spark, {name: f"delta.`{kept.root}/{name}`" for name in looked_at}, wanted())
    assert files(kept.root, "text_history") == 1
    kept.write(1)
    for name in looked_at:
        assert comparable(kept.root, name) == comparable(plain.root, name), name
    on_disk = [file for file in (kept.root / "text_history").rglob("*.parquet") if "_delta_log" not in file.parts]
    assert len(on_disk) == files(kept.root, "text_history") == 2


def test_where_no_stream_has_run_there_is_nothing_to_maintain(tmp_path: Path) -> None:
    with pytest.raises(TerminalTableError, match=r"There is no table .*: is this the right root\?"):
        maintain(str(tmp_path / "tpyo"), {}, wanted())
    assert not (tmp_path / "tpyo").exists()


@pytest.mark.spark
def test_what_spark_cannot_maintain_is_a_sentence(tmp_path: Path, spark: SparkSession) -> None:
    with pytest.raises(TerminalTableError, match=r"ledger` was not maintained: \[DELTA_MISSING_DELTA_TABLE\]"):
        maintain_by_spark(spark, {"ledger": f"delta.`{tmp_path}/ledger`"}, wanted())
