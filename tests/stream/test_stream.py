"""The real stream over a folder, file source to tables: bad files, late files, no files."""

from __future__ import annotations

import gzip
import shutil
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.errors import StreamingQueryException
from pyspark.sql import SparkSession

from deploy.stack.ports import free_ports, is_free
from jude.changes.sources import read_changes
from jude.cli.lag import lag_of
from jude.errors import TerminalSourceError, TerminalTableError, TransientOnlineError
from jude.online.sqlite import SqliteStore
from jude.settings import Settings, load_settings
from jude.stream.checkpoint import require_own_tables
from jude.stream.controls import reset
from jude.stream.drain import Drain, wait_for
from jude.stream.micro_batch import Applied
from jude.stream.opening import open_pipeline
from jude.stream.query import stream_embeddings
from jude.stream.run import run_stream
from jude.tables.reading import read
from tests.recording import write_records
from tests.stories import CONF, Record, job, records, upsert
from tests.stream.reading import rows_of
from tests.stream.test_bad_input import check_ledger, live_texts, text_of
from tests.stream.test_crashes import CLOCKS

pytestmark = [pytest.mark.spark, pytest.mark.timeout(900)]  # seconds on a quiet machine

CUT_ROWS = 400
STATE = ("text_history", "embedding_history", "embedding_store", "embedding_current", "quarantine")
ATTEMPTS = 5
RUN = ("writer_query", "writer_batch", "attempt")


class Deployment:
    """A folder with checkpoint, tables and online store; each run opens everything anew."""

    def __init__(self, folder: Path, source: Path) -> None:
        self.folder = folder
        self.tables = folder / "tables"
        self.source = source

    def settings(self, *overrides: str) -> Settings:
        """conf/test.yml, and places of its own."""
        places = {
            "source.path": self.source,
            "stream.checkpoint": self.folder / "checkpoint",
            "tables.root": self.tables,
            "online.path": self.folder / "online.sqlite",
            "source.max_offsets_per_trigger": CUT_ROWS,
        }
        return load_settings(CONF / "test.yml", [*(f"{k}={v}" for k, v in places.items()), *overrides])

    def run(self, spark: SparkSession, *overrides: str) -> list[Applied]:
        """Stream all that is there, then end; give what each batch did."""
        return stream(spark, self.settings(*overrides))

    def contents(self, without: Sequence[str] = RUN) -> dict[str, list[dict[str, Any]]]:
        """The tables, without clocks and without who wrote them."""
        return {name: rows_of(self.tables, name, (*CLOCKS, *without)) for name in STATE}


def stream(spark: SparkSession, settings: Settings) -> list[Applied]:
    """Stream all that is there in the session of the tests; give what each batch did."""
    batches: list[Applied] = []
    for attempt in range(ATTEMPTS):
        pipeline, drain = open_pipeline(settings, spark), Drain()
        try:
            changes = read_changes(spark, settings.source)
            wait_for(stream_embeddings(changes, pipeline, settings, drain, batches.append), drain)
            return batches
        except StreamingQueryException as error:
            # Spark gives a Python worker ten seconds to start, which a very busy machine may not have.
            if "failed to connect back" not in str(error) or attempt == ATTEMPTS - 1:
                raise
        finally:
            pipeline.online.close()
    raise AssertionError("unreachable: ATTEMPTS is at least 1")


def write(folder: Path, name: str, rows: Sequence[Record]) -> Path:
    write_records(folder / name, records(rows))
    return folder / name


def as_lines(folder: Path, rows: Sequence[Record]) -> list[bytes]:
    """Recorded lines of some records."""
    return write(folder, "_scratch.jsonl", rows).read_bytes().splitlines()


def test_bad_files_cost_their_bad_lines_only(spark: SparkSession, tmp_path: Path):
    source = tmp_path / "in"
    source.mkdir()
    deployment = Deployment(tmp_path / "out", source)
    write(source, "0002.jsonl", [upsert("j1", 10, job("Baker")), upsert("j2", 11, job("Cook"))])
    whole = gzip.compress(b"\n".join(as_lines(source, [upsert("j3", 12, job("Clerk"))])) + b"\n")
    (source / "0003.jsonl.gz").write_bytes(whole[:-8])  # all lines are there, the end mark is not
    (source / "0004.jsonl").write_bytes(b"")
    (source / "0005.jsonl.gz").write_bytes(b"")
    good = as_lines(source, [upsert("j1", 20, job("Baker II")), upsert("j4", 21, job("Driver"))])
    garbage = [b"{broken", b"\xff\xfe", b'{"topic": "jude.public.jobs"}', b"", b"[]"]
    (source / "0006.jsonl").write_bytes(b"\n".join([good[0], *garbage, good[1]]))  # and no line end at the end
    (source / "_hidden.jsonl").write_bytes(b"{still being written")
    (source / "notes.txt").write_bytes(b"not ours")
    deployment.run(spark, "source.max_offsets_per_trigger=3")

    expected = {"j1": "Baker II", "j2": "Cook", "j3": "Clerk", "j4": "Driver"}
    assert live_texts(deployment.tables) == {key: text_of(title) for key, title in expected.items()}
    bad = [(row["topic"], row["offset"], row["error_class"]) for row in rows_of(deployment.tables, "quarantine")]
    assert Counter(bad) == Counter([
        ("file:0003.jsonl.gz", 2, "truncated_file"),
        ("file:0006.jsonl", 2, "not_json"), ("file:0006.jsonl", 3, "invalid_utf8"),
        ("file:0006.jsonl", 4, "not_a_record"), ("file:0006.jsonl", 6, "not_a_record"),
    ])  # fmt: skip
    check_ledger(deployment.tables, 5 + len(bad))

    write(source, "0001.jsonl", [upsert("j1", 5, job("Old")), upsert("j5", 6, job("Nurse"))])  # late, an older name
    (applied,) = deployment.run(spark)
    assert applied.counts["job"].stale == applied.counts["job"].changed == 1
    assert live_texts(deployment.tables) == {k: text_of(t) for k, t in {**expected, "j5": "Nurse"}.items()}


def test_nothing_new_changes_nothing(spark: SparkSession, tmp_path: Path):
    source = tmp_path / "in"
    source.mkdir()
    deployment = Deployment(tmp_path / "out", source)
    assert [applied.counts for applied in deployment.run(spark)] in ([], [{}])  # Spark may begin with an empty batch
    assert not any(deployment.contents().values())
    write(source, "0001.jsonl", [upsert("j1", 10, job("Baker"))])
    assert len(deployment.run(spark)) == 1
    assert deployment.run(spark) == []


def test_a_store_that_is_away_for_a_moment_does_not_end_the_stream(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    failures, put_many = iter(range(2)), SqliteStore.put_many

    def unsteady(store: SqliteStore, *arguments: Any) -> Any:
        if next(failures, None) is not None:
            raise TransientOnlineError("away")
        return put_many(store, *arguments)

    monkeypatch.setattr(SqliteStore, "put_many", unsteady)
    source = tmp_path / "in"
    source.mkdir()
    deployment = Deployment(tmp_path / "out", source)
    write(source, "0001.jsonl", [upsert("j1", 10, job("Baker"))])
    with pytest.raises(TransientOnlineError, match="away"):
        deployment.run(spark)
    assert len(deployment.run(spark, "stream.retry_seconds=60")) == 1
    assert live_texts(deployment.tables) == {"j1": text_of("Baker")}
    check_ledger(deployment.tables, 1)


@pytest.fixture
def own_process(monkeypatch: pytest.MonkeyPatch):
    """A run sets the logs and the signals of its process, which here is that of all tests."""
    monkeypatch.setattr("jude.stream.run.configure_logs", lambda *_, **__: None)
    monkeypatch.setattr(Drain, "on_sigterm", lambda *_: None)


@pytest.mark.usefixtures("own_process")
def test_a_checkpoint_of_other_tables_is_refused(tmp_path: Path, spark: SparkSession):
    """Else what it has read would be missing in the new ones, and the run would say that nothing was new."""
    deployment = one_job(tmp_path)
    deployment.run(spark)
    require_own_tables(str(tmp_path / "checkpoint"), read(deployment.tables, "model_versions"))
    shutil.rmtree(deployment.tables)
    with pytest.raises(TerminalTableError, match=r"belongs to other tables.* `jude stream reset`"):
        run_stream(deployment.settings())
    reset(str(tmp_path / "checkpoint"), datetime.now(UTC))
    assert [sum(counts.inferences for counts in batch.counts.values()) for batch in deployment.run(spark)] == [1]


@pytest.mark.usefixtures("own_process")
def test_a_damaged_checkpoint_is_told_with_the_way_out(tmp_path: Path, spark: SparkSession):
    deployment = one_job(tmp_path)
    deployment.run(spark)
    offsets, metadata = tmp_path / "checkpoint" / "offsets", tmp_path / "checkpoint" / "metadata"
    offsets.joinpath("0").write_text("v1\n{")
    told = r"checkpoint is damaged \({}.*\)\. `jude stream reset` puts it aside"
    with pytest.raises(TerminalTableError, match=told.format("Checksum error: file:")):
        run_stream(deployment.settings())
    (offsets / ".0.crc").unlink()  # as on a storage that has no checksums
    for content, why in {"": "Failed to read log file", "v2000\n": ""}.items():
        offsets.joinpath("0").write_text(content)
        with pytest.raises(TerminalTableError, match=told.format(why)):
            run_stream(deployment.settings())
        assert "unknown: the checkpoint is damaged" in lag_of(deployment.settings())
    metadata.write_bytes(b"")
    with pytest.raises(TerminalTableError, match=told.format(r".*metadata is no JSON")):
        run_stream(deployment.settings())


@pytest.mark.usefixtures("own_process")
def test_a_version_that_readers_do_not_see_is_warned_of(
    tmp_path: Path, spark: SparkSession, caplog: pytest.LogCaptureFixture
):
    deployment = one_job(tmp_path)
    deployment.run(spark)
    for more, warnings in (
        ((), []),
        (("encoder.revision=2",), ["feeds a version that is not current: readers do not see it"]),
    ):
        caplog.clear()
        with pytest.raises(TerminalSourceError):  # before anything is read
            run_stream(deployment.settings(f"source.path={tmp_path / 'gone'}", *more))
        assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == warnings


@pytest.mark.usefixtures("own_process")
def test_a_second_run_in_one_process_finds_the_metrics_port_free(tmp_path: Path, spark: SparkSession):
    """A notebook runs the stream again after it ended."""
    deployment, port = one_job(tmp_path), free_ports(1)[0]
    for _ in range(2):
        with pytest.raises(TerminalSourceError):  # not the port
            run_stream(deployment.settings(f"source.path={tmp_path / 'gone'}", f"metrics.port={port}"))
        assert is_free(port)


def one_job(folder: Path) -> Deployment:
    (folder / "in").mkdir()
    write(folder / "in", "0001.jsonl", [upsert("j1", 10, job("Cook"))])
    return Deployment(folder, folder / "in")
