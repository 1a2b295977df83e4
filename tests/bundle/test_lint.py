"""The bundle names files that exist, no host, and streams that run once."""

from __future__ import annotations

import re
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from jude.training.reading import load_training
from tests.bundle.lint import lint

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A copy of the bundle's files that a test may spoil."""
    for folder in ("resources", "jobs", "conf"):
        shutil.copytree(PROJECT / folder, tmp_path / folder)
    for file in ("bundle.yml", "pyproject.toml"):
        shutil.copy(PROJECT / file, tmp_path)
    return tmp_path


def test_the_bundle_has_no_problem() -> None:
    assert lint(PROJECT) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "problem"),
    [
        ("bundle.yml", "resources/*.yml", "resource/*.yml", "include resource/*.yml matches no file"),
        ("bundle.yml", "name: jude\n", "name: jude-${bundle.target}\n", "bundle.name cannot hold a variable"),
        ("bundle.yml", "      root_path: /Workspace", "      other: /Workspace", "without workspace.root_path"),
        ("bundle.yml", "    workspace:\n", "    workspace:\n      host: example\n", "prod names a workspace host"),
        ("bundle.yml", "      workers: 4\n", "", "variable workers has no value in target prod"),
        ("resources/embed_stream.yml", "var.node_type", "var.node", "${var.node} is not declared"),
        ("resources/embed_stream.yml", "jobs/embed_stream.py", "jobs/embed.py", "../jobs/embed.py does not exist"),
        ("resources/embed_stream.yml", "max_concurrent_runs: 1", "max_concurrent_runs: 4", "max_concurrent_runs: 1"),
        ("resources/embed_stream.yml", "task_retry_mode: ON_FAILURE", "pause_status: UNPAUSED", "pause_status"),
        (
            "resources/embed_stream.yml",
            "          job_cluster_key: stream\n          spark_",
            "          spark_",
            "no compute",
        ),
        (
            "resources/embed_stream.yml",
            "- job_cluster_key: stream",
            "- job_cluster_key: other",
            "unknown cluster stream",
        ),
        ("resources/train.yml", "conf/training/relevance", "conf/relevance", "conf/relevance.yml does not exist"),
        ("resources/train.yml", "entry_point: jude", "entry_point: judy", "the wheel has no command judy"),
        (
            "resources/train.yml",
            "    train:\n",
            "    maintenance:\n",
            "maintenance is a resource of maintenance.yml",
        ),
        ("jobs/embed_stream.py", '"""Keep', '# Databricks notebook source\n"""Keep', "is a notebook"),
    ],
)
def test_each_rule_finds_its_mistake(bundle: Path, file: str, old: str, new: str, problem: str) -> None:
    before = (bundle / file).read_text()
    assert old in before
    (bundle / file).write_text(before.replace(old, new))
    found = lint(bundle)
    assert len(found) == 1, found
    assert problem in found[0]


def test_every_job_that_reads_a_missing_settings_file_is_named(bundle: Path) -> None:
    (bundle / "conf" / "prod.yml").unlink()
    assert [problem.split(": ")[1:] for problem in lint(bundle)] == [
        [f"job {job}", "conf/prod.yml does not exist"] for job in ("embed_stream", "maintenance", "train")
    ]


def test_a_second_root_file_is_refused(bundle: Path) -> None:
    shutil.copy(bundle / "bundle.yml", bundle / "databricks.yml")
    assert lint(bundle) == ["one root file is needed, found ['bundle.yml', 'databricks.yml']"]


def test_the_training_job_reads_its_base_and_its_pairs_from_the_volume() -> None:
    job = yaml.safe_load((PROJECT / "resources/train.yml").read_text())["resources"]["jobs"]["train"]
    asked = [str(word).replace("${var.training_volume}", "/volume") for word in _parameters(job)]
    conf = PROJECT / asked[asked.index("--conf") + 1].removeprefix("${workspace.file_path}/")
    settings = load_training(conf, [word for before, word in pairwise(asked) if before == "--set"])
    pairs = [phase.pairs for phase in settings.phases]
    assert [settings.model.base, settings.run.watch, *pairs] == [
        f"/volume/{name}" for name in ("base", "watched.parquet", "relevance.parquet", "engagement.parquet")
    ]


def _parameters(job: dict[str, Any]) -> list[str]:
    (task,) = [task for task in job["tasks"] if "spark_python_task" in task]
    return list(task["spark_python_task"]["parameters"])


def test_git_hides_nothing_that_is_deployed() -> None:
    ignored = (PROJECT / ".gitignore").read_text().split()
    assert not [line for line in ignored if re.match(r"/?(jobs|conf|resources|src)\b", line)]


def test_the_cluster_gets_the_versions_of_the_requirement_files() -> None:
    job = yaml.safe_load((PROJECT / "resources/embed_stream.yml").read_text())["resources"]["jobs"]["embed_stream"]
    locked = (PROJECT / "requirements/run.txt").read_text()
    pinned = [entry["pypi"]["package"] for task in job["tasks"] for entry in task["libraries"] if "pypi" in entry]
    assert pinned
    assert [package for package in pinned if f"\n{package} " not in locked] == []
