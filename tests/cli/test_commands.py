"""What all commands share: help at once, one line for a mistake, doctor's findings."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jude.cli.failing import sentence_of
from jude.cli.options import find_conf
from tests.cli.deploying import Deployment, run, words

COMMANDS = (
    ("status",),
    ("search", "cook"),
    ("explain", "job", "j1"),
    ("sql", "select 1"),
    ("quarantine", "list"),
    ("quarantine", "show", "x"),
    ("quarantine", "replay", "--all"),
    ("quarantine", "dismiss", "x"),
    ("online", "rebuild"),
    ("stream", "run"),
    ("demo",),
)


HELP = """
import sys
from jude.cli import main
sys.argv = ["jude", "--help"]
try:
    main()
finally:
    print({"pyspark", "torch", "numpy", "pyarrow", "deltalake", "pydantic", "yaml", "rich"} & set(sys.modules))
"""


def test_help_imports_nothing_heavy():
    """Else `jude --help` would take seconds."""
    printed = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=True).stdout
    assert printed.splitlines()[-1] == "set()"
    assert "demo" in printed


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_wrong_settings_are_one_sentence(command: tuple[str, ...], tmp_path: Path):
    missing = tmp_path / "conf" / "nowhere.yml"
    assert run(*command, "--conf", str(missing), exit_code=1) == f"There is no file {missing}.\n"
    said = run(*command, "--set", "tables.rot=x", exit_code=1)
    assert said == "--set tables.rot: there is no key tables.rot. Did you mean root?\n"


def test_before_the_demo_its_settings_say_what_makes_them():
    said = run("status", "--conf", ".jude/nowhere/demo.yml", exit_code=1)
    assert said == "There is no file .jude/nowhere/demo.yml: `jude demo` makes it, with its tables.\n"


def test_a_place_that_cannot_be_used_is_one_sentence(tmp_path: Path):
    (tmp_path / "file").touch()
    said = run("demo", "--folder", str(tmp_path / "file"), exit_code=1)
    assert said == f"{tmp_path / 'file'}: Not a directory. `jude doctor` says which folders can be written.\n"


def test_settings_are_found_from_a_folder_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "local.yml").touch()
    (tmp_path / "deep" / "down").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "down")
    assert find_conf(None) == tmp_path / "conf" / "local.yml"
    assert find_conf(Path("other.yml")) == Path("other.yml")


def test_away_from_a_project_its_own_settings_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert find_conf(None) == Path(__file__).parent.parent.parent / "conf" / "local.yml"


def test_doctor_looks_at_the_machine_and_at_the_configuration(empty: Deployment):
    checks = doctor(empty)
    assert checks["Python"]["ok"]
    assert checks["source"]["found"].startswith("0 recorded files in ")
    assert checks["entities"]["found"].startswith("job, member, resume in ")
    assert checks["tables"]["found"].endswith("(made by the first run)")


def test_what_doctor_misses_comes_with_a_way_out(empty: Deployment):
    (empty.entities / "job.yml").write_text("name: job")
    empty.changes.rmdir()
    checks = doctor(empty)
    assert not checks["entities"]["ok"]
    assert "job.yml" in checks["entities"]["found"]
    assert (checks["source"]["ok"], checks["source"]["hint"]) == (False, "create it, or set source.path")
    printed = empty.runner("doctor")
    assert printed.exit_code == 1
    assert "-> create it, or set source.path" in printed.stdout
    assert "Missing: " in printed.stdout


def test_doctor_tells_files_from_folders(empty: Deployment):
    empty.root.touch()
    (empty.folder / "online.sqlite").mkdir()
    checks = doctor(empty)
    assert (checks["tables"]["ok"], checks["tables"]["found"]) == (False, f"{empty.root} is no folder")
    assert (checks["online store"]["ok"], checks["online store"]["hint"]) == (
        False,
        "move it away, or name another place",
    )


def test_a_wrong_configuration_is_a_finding_of_doctor(empty: Deployment):
    printed = empty.runner("doctor", "--set", "stream.triger=x")
    assert printed.exit_code == 1
    assert "there is no key stream.triger. Did you mean trigger?" in words(printed.stdout)


def doctor(deployment: Deployment) -> dict[str, Any]:
    """Findings by name; what this machine has is not this test's business, so any exit code will do."""
    return {check["name"]: check for check in json.loads(deployment.runner("doctor", "--json").stdout)}


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "[FOREACH_BATCH]\nTraceback (most recent call last):\n  x\njude.errors.TransientError: Wait.\nat org",
            "Wait.",
        ),
        ("[PYTHON] Traceback (most recent call last):\n  x\nImportError: no x\n SQLSTATE", "ImportError: no x"),
        (
            "Traceback (most recent call last):\n  x\nOSError: no\n=== Streaming Query ===\nIdentifier: jude [id = 1]",
            "OSError: no",
        ),
        ("\n[TABLE_OR_VIEW_NOT_FOUND] no t\n== SQL ==", "[TABLE_OR_VIEW_NOT_FOUND] no t"),
        ("", "RuntimeError"),
    ],
)
def test_an_error_inside_a_spark_query_keeps_its_sentence(said: str, told: str):
    assert sentence_of(RuntimeError(said)) == told
