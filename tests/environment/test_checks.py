"""What `jude doctor` says about a machine."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from jude.environment import Check, check_environment


def named(checks: list[Check], name: str) -> Check:
    return next(check for check in checks if check.name == name)


def test_an_empty_folder_has_no_sample_data_and_says_where_it_is(tmp_path: Path) -> None:
    data = named(check_environment(tmp_path), "sample data")
    assert (data.ok, data.found) == (False, "none")
    assert "data/sample" in data.hint


def test_sample_data_is_counted(tmp_path: Path) -> None:
    (tmp_path / "data" / "sample").mkdir(parents=True)
    (tmp_path / "data" / "sample" / "0001.jsonl.gz").write_bytes(b"x" * 1_500_000)
    assert named(check_environment(tmp_path), "sample data").found == "1 files, 1.5 MB"


def test_a_spark_without_the_delta_jar_is_told_apart_from_no_spark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "spark-submit").touch()
    (tmp_path / "jars").mkdir()
    (tmp_path / "jars" / "delta-spark_4.2_2.13-4.4.0.jar").symlink_to(tmp_path / "removed.jar")
    monkeypatch.setenv("SPARK_HOME", str(tmp_path))
    checks = check_environment(tmp_path)
    assert named(checks, "Spark").ok
    assert not named(checks, "Delta jar").ok
    assert "make setup" in named(checks, "Delta jar").hint


def test_a_full_disk_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 0))
    checks = check_environment(tmp_path)
    assert named(checks, "project folder").found.endswith("No space left on device")
    assert not named(checks, "free disk").ok


def test_every_failed_check_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARK_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    failed = [check for check in check_environment(tmp_path) if not check.ok]
    assert {"Spark", "Delta jar", "Kafka jar"} <= {check.name for check in failed}
    assert [check.name for check in failed if not check.hint] == []
