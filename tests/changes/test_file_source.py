"""The recorded-file source under real queries with real checkpoints: nothing lost, nothing twice, in name order."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jude.changes.file_source import DDL, Bounds, FileOffset, FolderCursor
from jude.changes.sources import read_changes
from jude.errors import TerminalSourceError
from jude.settings.models import KafkaSettings, SourceSettings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming.query import StreamingQuery


def source(folder: Path, max_rows: int | None = None, max_files: int | None = None, **more: Any) -> SourceSettings:
    chosen: dict[str, Any] = {"starting_offsets": "earliest", "fail_on_data_loss": True, **more}
    nowhere = KafkaSettings("", (), None, {})
    return SourceSettings(
        "files", folder, nowhere, max_offsets_per_trigger=max_rows, max_files_per_trigger=max_files, **chosen
    )


@dataclass
class Batches:
    """What a query handed over: the values of each batch, in order. `fail_in` dies before it keeps that batch."""

    kept: list[list[str]] = field(default_factory=list)
    fail_in: int | None = None
    meanwhile: Callable[[int], None] | None = None

    def __call__(self, records: DataFrame, batch_id: int) -> None:
        values = [value.decode() for value in records.toArrow().column("value").to_pylist()]
        if self.meanwhile:
            self.meanwhile(batch_id)
        if batch_id == self.fail_in:
            raise RuntimeError("killed between batches")
        self.kept.append(values)

    @property
    def rows(self) -> list[str]:
        return [value for batch in self.kept for value in batch]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def write(folder: Path, name: str, values: list[str]) -> None:
    """Put a complete file there, as a feeder must: under a hidden name, then renamed."""
    lines = "".join(f'{{"topic":"t","offset":{i},"value":"{value}"}}\n' for i, value in enumerate(values)).encode()
    hidden = folder / f".{name}"
    hidden.write_bytes(gzip.compress(lines) if name.endswith(".gz") else lines)
    hidden.replace(folder / name)


def names(prefix: str, count: int, first: int = 0) -> list[str]:
    return [f"{prefix}{i}" for i in range(first, first + count)]


def drain(spark: SparkSession, source: SourceSettings, checkpoint: Path, batches: Batches) -> StreamingQuery:
    """Run until all that was there at the start is through."""
    query = (
        read_changes(spark, source)
        .writeStream.foreachBatch(batches)
        .option("checkpointLocation", str(checkpoint))
        .trigger(availableNow=True)
        .start()
    )
    assert query.awaitTermination(240), "the query did not end"
    return query


@pytest.mark.spark
def test_files_come_in_name_order_with_kafkas_columns(spark: SparkSession, folder: Path, tmp_path: Path) -> None:
    write(folder, "02.jsonl", ["c"])
    write(folder, "01.jsonl.gz", ["a", "b"])
    (folder / ".03.jsonl").write_text("hidden")
    (folder / "_04.jsonl").write_text("hidden")
    (folder / "notes.txt").write_text("not a recorded file")
    batches = Batches()
    drain(spark, source(folder), tmp_path / "checkpoint", batches)
    assert batches.kept == [["a", "b", "c"]]
    assert read_changes(spark, source(folder)).schema == spark.createDataFrame([], DDL).schema


@pytest.mark.spark
def test_available_now_drains_in_bounded_batches_and_takes_nothing_newer(
    spark: SparkSession, folder: Path, tmp_path: Path
) -> None:
    for name, values in {"1.jsonl": names("a", 5), "2.jsonl.gz": names("b", 5), "3.jsonl": names("c", 2)}.items():
        write(folder, name, values)
    batches = Batches(meanwhile=lambda batch: write(folder, f"9{batch}.jsonl", ["too late"]))
    drain(spark, source(folder, max_rows=4), tmp_path / "checkpoint", batches)
    assert batches.kept == [
        ["a0", "a1", "a2", "a3"],
        ["a4", "b0", "b1", "b2"],
        ["b3", "b4", "c0", "c1"],
    ]


@pytest.mark.spark
def test_a_restart_goes_on_where_it_stopped_and_reads_a_late_older_name(
    spark: SparkSession, folder: Path, tmp_path: Path
) -> None:
    write(folder, "5.jsonl", names("a", 6))
    write(folder, "6.jsonl", names("b", 3))
    killed, resumed = Batches(fail_in=1), Batches()
    from pyspark.errors import StreamingQueryException

    with pytest.raises(StreamingQueryException, match="killed between batches"):
        drain(spark, source(folder, max_rows=4), tmp_path / "checkpoint", killed)
    write(folder, "4.jsonl", ["late"])
    drain(spark, source(folder, max_rows=4), tmp_path / "checkpoint", resumed)
    assert killed.kept == [["a0", "a1", "a2", "a3"]]
    assert resumed.kept == [["a4", "a5", "b0", "b1"], ["b2", "late"]]
    nothing_more = Batches()
    drain(spark, source(folder, max_rows=4), tmp_path / "checkpoint", nothing_more)
    assert nothing_more.rows == []


@pytest.mark.spark
def test_a_continuous_query_picks_up_files_as_they_appear(spark: SparkSession, folder: Path, tmp_path: Path) -> None:
    batches = Batches()
    query = (
        read_changes(spark, source(folder))
        .writeStream.foreachBatch(batches)
        .option("checkpointLocation", str(tmp_path / "checkpoint"))
        .trigger(processingTime="0 seconds")
        .start()
    )
    try:
        for name, value in (("2.jsonl", "first"), ("3.jsonl", "second"), ("1.jsonl", "older name")):
            write(folder, name, [value])
            query.processAllAvailable()
    finally:
        query.stop()
    assert batches.kept == [["first"], ["second"], ["older name"]]


@pytest.mark.spark
def test_bad_files_are_rows_and_the_stream_goes_on(spark: SparkSession, folder: Path, tmp_path: Path) -> None:
    write(folder, "1.jsonl", [])
    (folder / "2.jsonl").write_bytes(b"garbage\n")
    whole = gzip.compress(b'{"topic":"t","offset":0,"value":"kept"}\n' + os.urandom(1000).hex().encode())
    (folder / "3.jsonl.gz").write_bytes(whole[: len(whole) - 300])
    write(folder, "4.jsonl", ["end"])
    batches = Batches()
    drain(spark, source(folder), tmp_path / "checkpoint", batches)
    garbage, kept, truncated, end = batches.rows
    assert (garbage, kept, end) == ("garbage", "kept", "end")
    assert len(truncated) > 100


@pytest.mark.spark
def test_ten_thousand_lines_in_batches_of_three_thousand(spark: SparkSession, folder: Path, tmp_path: Path) -> None:
    write(folder, "1.jsonl.gz", names("r", 10_000))
    batches = Batches()
    drain(spark, source(folder, max_rows=3_000), tmp_path / "checkpoint", batches)
    assert [len(batch) for batch in batches.kept] == [3_000, 3_000, 3_000, 1_000]
    assert batches.rows == names("r", 10_000)


@pytest.mark.spark
def test_a_half_read_file_that_goes_away_stops_the_query_unless_allowed(
    spark: SparkSession, folder: Path, tmp_path: Path
) -> None:
    from pyspark.errors import StreamingQueryException

    write(folder, "1.jsonl", names("a", 4))
    write(folder, "2.jsonl", ["b"])
    killed = Batches(fail_in=1)
    with pytest.raises(StreamingQueryException, match="killed"):
        drain(spark, source(folder, max_rows=2), tmp_path / "checkpoint", killed)
    (folder / "1.jsonl").unlink()
    with pytest.raises(StreamingQueryException, match=r"'1.jsonl' went away .*fail_on_data_loss"):
        drain(spark, source(folder, max_rows=2), tmp_path / "checkpoint", Batches())
    allowed = Batches()
    drain(spark, source(folder, 2, fail_on_data_loss=False), tmp_path / "checkpoint", allowed)
    assert allowed.rows == ["b"]


def test_a_missing_folder_is_told_with_what_to_do(tmp_path: Path) -> None:
    nothing: Any = None
    with pytest.raises(TerminalSourceError, match=r"does not exist.*source\.path"):
        read_changes(nothing, source(tmp_path / "missing"))


# The cursor alone, in milliseconds


def walk(cursor: FolderCursor, bounds: Bounds) -> Iterator[tuple[list[str], FileOffset, FileOffset]]:
    offset = FileOffset()
    while True:
        tables, end = cursor.read(offset, cursor.names(), bounds)
        if end == offset:
            return
        yield [v.decode() for t in tables for v in t.column("value").to_pylist()], offset, end
        offset = end


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("files", [1, 2, 100])
def test_any_bounds_give_every_row_once_and_the_same_again(folder: Path, rows: int, files: int) -> None:
    write(folder, "1.jsonl", names("a", 7))
    write(folder, "2.jsonl.gz", names("b", 4))
    write(folder, "3.jsonl", [])
    write(folder, "4.jsonl.gz", names("d", 1))
    seen: list[str] = []
    for values, start, end in walk(FolderCursor(folder, fail_on_data_loss=True), Bounds(rows, files)):
        assert len(values) <= rows
        assert FileOffset.from_json(end.to_json()) == end
        again = FolderCursor(folder, fail_on_data_loss=True).read_again(start, end)
        assert [v.decode() for t in again for v in t.column("value").to_pylist()] == values
        seen += values
    assert seen == [*names("a", 7), *names("b", 4), *names("d", 1)]


def test_a_batch_is_closed_early_when_its_lines_are_long(folder: Path) -> None:
    write(folder, "1.jsonl", ["x" * 1000] * 4)
    batches = walk(FolderCursor(folder, fail_on_data_loss=True), Bounds(rows=100, files=100, bytes=1500))
    assert [len(values) for values, _, _ in batches] == [2, 2]


def test_removed_files_leave_the_offset_with_the_next_step(folder: Path) -> None:
    cursor = FolderCursor(folder, fail_on_data_loss=True)
    write(folder, "1.jsonl", ["a"])
    _, first = cursor.read(FileOffset(), cursor.names(), Bounds(10, 10))
    (folder / "1.jsonl").unlink()
    assert cursor.read(first, cursor.names(), Bounds(10, 10)) == ([], first)
    write(folder, "2.jsonl", ["b"])
    _, second = cursor.read(first, cursor.names(), Bounds(10, 10))
    assert second.done == {"2.jsonl"}


def test_ten_thousand_finished_files_are_a_small_offset(folder: Path) -> None:
    offset = FileOffset(frozenset(f"changes-{i:08d}.jsonl" for i in range(10_000)))
    assert len(offset.to_json()["names"]) < 50_000
    assert FileOffset.from_json(offset.to_json()) == offset


def test_a_folder_with_strange_names_is_read_too(folder: Path) -> None:
    write(folder, "größe 1 \u202e.jsonl", ["a"])
    cursor = FolderCursor(folder, fail_on_data_loss=True)
    assert [values for values, _, _ in walk(cursor, Bounds(10, 10))] == [["a"]]
    shutil.rmtree(folder)
    with pytest.raises(TerminalSourceError, match="does not exist"):
        cursor.names()


READER = """
from pyspark.sql.types import StructType
from jude.changes.file_source import JudeChanges
JudeChanges({"path": "."}).simpleStreamReader(StructType())
raise """


@pytest.mark.parametrize(
    ("error", "told"), [("BrokenPipeError", False), ("ConnectionResetError", False), ("OSError", True)]
)
def test_a_reader_whose_stream_was_stopped_tells_no_stack_trace(error: str, told: bool) -> None:
    """Spark closes the reader's socket before it kills it: on a slow machine the reader sees that first."""
    ran = subprocess.run([sys.executable, "-c", READER + error], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert ("Traceback" in ran.stderr) == told


def test_a_name_that_cannot_be_read_is_a_sentence(folder: Path) -> None:
    (folder / "1.jsonl").mkdir()
    cursor = FolderCursor(folder, fail_on_data_loss=True)
    with pytest.raises(TerminalSourceError, match=r"'1\.jsonl' in .* cannot be read: Is a directory"):
        cursor.read(FileOffset(), cursor.names(), Bounds(rows=10, files=10))
