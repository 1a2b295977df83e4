"""What the storage does to us: a full disk passes, a folder that we may not write does not."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pyarrow as pa
import pytest

from jude.errors import TerminalTableError, TransientTableError
from jude.planning.state import Key
from jude.tables.failures import damage_named, storage_error
from jude.tables.native import NativeTables
from jude.tables.protocol import TextKey
from jude.tables.reading import read
from tests.tables.conftest import BUCKETS
from tests.tables.rows import batch, known, pointer, pointers, text, texts, vector, vectors


def full(*_args: object, **_kwargs: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_while_data_is_written_loses_nothing_and_passes(root: Path, monkeypatch: pytest.MonkeyPatch):
    tables = NativeTables(root, buckets=BUCKETS)
    tables.merge_current(pointers(pointer("j1", "p1")), batch(0))
    with monkeypatch.context() as broken:
        broken.setattr("jude.tables.data_files.pq.write_table", full)
        with pytest.raises(TransientTableError, match="no space left"):
            tables.append("text_history", texts(text("j1", "p1")), batch(0))
        with pytest.raises(TransientTableError, match="no space left"):
            tables.merge_current(pointers(pointer("j1", "p2")), batch(1))
    assert known(tables, "j1", columns=("position",)) == {"j1": "p1"}
    tables.append("text_history", texts(text("j1", "p1")), batch(0))
    tables.merge_current(pointers(pointer("j1", "p2")), batch(1))
    assert known(tables, "j1", columns=("position",)) == {"j1": "p2"}


def test_a_full_disk_at_the_commit_leaves_the_table_as_it_was(root: Path, monkeypatch: pytest.MonkeyPatch):
    tables = NativeTables(root, buckets=BUCKETS)
    with monkeypatch.context() as broken:
        broken.setattr(os, "link", full)
        with pytest.raises(TransientTableError):
            tables.append("text_history", texts(text("j1", "p1")), batch(0))
    log = root / "text_history" / "_delta_log"
    assert sorted(p.name for p in log.iterdir() if p.suffix != ".json") == [], "no half commit is left"
    tables.append("text_history", texts(text("j1", "p1")), batch(0))
    assert list(tables.fields_of([TextKey("job", "j1", "p1")])) == [("job", "j1", "p1")]


def test_a_disk_without_hard_links_is_told_as_such(root: Path, monkeypatch: pytest.MonkeyPatch):
    def unsupported(*_args: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", unsupported)
    with pytest.raises(TerminalTableError, match=r"without hard links.*set tables\.writer to spark"):
        NativeTables(root, buckets=BUCKETS).append("text_history", texts(text("j1", "p1")), batch(0))


def test_a_folder_that_cannot_be_written_stops_the_job(tmp_path: Path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(TerminalTableError, match="cannot be written"):
        NativeTables(tmp_path / "file" / "jude", buckets=BUCKETS).ensure()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_stops_the_job(tmp_path: Path):
    tmp_path.chmod(0o500)
    with pytest.raises(TerminalTableError, match="cannot be written"):
        NativeTables(tmp_path / "jude", buckets=BUCKETS).ensure()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "x"), TransientTableError),
        (RuntimeError("java.io.IOException: No space left on device"), TransientTableError),
        (OSError(errno.EACCES, "x"), TerminalTableError),
        (RuntimeError("Generic S3 error: 403 Forbidden: Access Denied"), TerminalTableError),
        (TimeoutError("read timed out"), TransientTableError),
        (RuntimeError("java.net.SocketException: reset\n at X.deserializeToObject"), TransientTableError),
        (RuntimeError("file:/a/part-0.parquet is not a Parquet file. Expected magic number"), TerminalTableError),
    ],
)
def test_every_storage_names_these_two_in_its_own_words(error: Exception, expected: type[Exception]):
    assert type(storage_error("the table", error)) is expected


@pytest.mark.parametrize(
    "error", [pa.ArrowInvalid("Index not in dictionary bounds"), OSError("Unexpected end of stream")]
)
def test_whatever_parquet_says_of_damage_the_file_is_named(error: Exception):
    with pytest.raises(TerminalTableError, match=r"part-1 is damaged: "), damage_named(lambda: "part-1"):
        raise error
    with pytest.raises(TimeoutError), damage_named(lambda: "part-1"):
        raise TimeoutError


@pytest.mark.parametrize("damage", ["cut", "overwritten", "empty"])
def test_a_damaged_file_is_named_and_stops_the_job(root: Path, damage: str):
    NativeTables(root, buckets=BUCKETS).merge_current(pointers(pointer("j1", "p1")), batch(0))
    NativeTables(root, buckets=BUCKETS).append("text_history", texts(text("j1", "p1")), batch(0))
    for table in ("embedding_current", "text_history"):
        (file,) = (root / table).rglob("*.parquet")
        whole = file.read_bytes()
        broken = {"cut": whole[:-20], "overwritten": whole[:4] + bytes(400) + whole[404:], "empty": b""}[damage]
        file.write_bytes(broken)
        with pytest.raises(TerminalTableError, match=rf"{file.name}.* is damaged: .*Put it back from a backup"):
            read(root, table)
    tables = NativeTables(root, buckets=BUCKETS)
    with pytest.raises(TerminalTableError, match=r"embedding_current.*\.parquet is damaged: "):
        tables.known_state("m1", [Key("job", "j1")])
    tables.append("embedding_store", vectors(vector("a")), batch(0))
    (file,) = (root / "embedding_store").rglob("*.parquet")
    assert tables.stored("m1", ["a"]).num_rows == 1  # the index knows the file
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(TerminalTableError, match=r"embedding_store.*\.parquet is damaged: "):
        tables.stored("m1", ["a"])


def test_a_damaged_log_is_a_sentence_without_a_stack(root: Path):
    log = root / "quarantine" / "_delta_log"
    next(log.glob("*00.json")).write_text("garbage")
    with pytest.raises(TransientTableError) as told:
        read(root, "quarantine")
    assert len(str(told.value).splitlines()) == 1


@pytest.mark.parametrize("written", ["", '{"commitInfo":{"oper'])
def test_a_commit_that_another_writer_is_still_writing_is_read_when_it_is_whole(root: Path, written: str):
    tables, other = (NativeTables(root, buckets=BUCKETS) for _ in range(2))
    assert known(tables, "j1") == {}
    other.merge_current(pointers(pointer("j1", "p1")), batch(0))
    commit = max((root / "embedding_current" / "_delta_log").glob("*.json"))
    whole = commit.read_text()
    commit.write_text(written)
    with pytest.raises(TransientTableError, match="not a whole commit"):
        known(tables, "j1")
    commit.write_text(whole)
    assert known(tables, "j1") != {}
