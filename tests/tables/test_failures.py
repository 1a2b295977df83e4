"""What the storage does to us: a full disk passes, a folder that we may not write does not."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from jude.errors import TerminalTableError, TransientTableError
from jude.tables.failures import storage_error
from jude.tables.native import NativeTables
from jude.tables.protocol import TextKey
from jude.tables.reading import read
from tests.tables.conftest import BUCKETS
from tests.tables.rows import batch, known, pointer, pointers, text, texts


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
    ],
)
def test_every_storage_names_these_two_in_its_own_words(error: Exception, expected: type[Exception]):
    assert type(storage_error("the table", error)) is expected


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
