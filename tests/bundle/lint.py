"""A light lint of the bundle: what a deployment would stumble over, found without a workspace."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

Problem = str
REFERENCE = re.compile(r"\$\{var\.([a-z_]+)\}")
STREAMING = "continuous"
WORKSPACE = "${workspace.file_path}/"


def lint(root: Path) -> list[Problem]:
    """Return a sentence for each thing that is wrong with the bundle in this folder."""
    roots = [
        name for name in ("bundle.yml", "bundle.yaml", "databricks.yml", "databricks.yaml") if (root / name).exists()
    ]
    if len(roots) != 1:
        return [f"one root file is needed, found {roots or 'none'}"]
    bundle = yaml.safe_load((root / roots[0]).read_text())
    pieces = [path for pattern in bundle.get("include", []) for path in sorted(root.glob(pattern))]
    problems = [
        f"include {pattern} matches no file" for pattern in bundle.get("include", []) if not list(root.glob(pattern))
    ]
    problems += _root_problems(bundle)
    commands = tomllib.loads((root / "pyproject.toml").read_text())["project"]["scripts"]
    confs = [target["variables"]["conf"] for target in bundle["targets"].values() if "conf" in target["variables"]]
    keys: dict[str, str] = {}
    for piece in pieces:
        resources = yaml.safe_load(piece.read_text()).get("resources", {})
        for name in (name for kind in resources.values() for name in kind):
            problems += [f"{name} is a resource of {keys[name]} and of {piece.name}"] if name in keys else []
            keys[name] = piece.name
        for name, job in resources.get("jobs", {}).items():
            found = [*_job_problems(job, piece.parent), *_parameter_problems(job, root, confs, commands)]
            problems += [f"{piece.name}: job {name}: {problem}" for problem in found]
    texts = [path.read_text() for path in (root / roots[0], *pieces)]
    return [*problems, *_variable_problems(bundle, texts, root)]


def _root_problems(bundle: dict[str, Any]) -> Iterator[Problem]:
    if "${" in bundle["bundle"]["name"]:
        yield "bundle.name cannot hold a variable"
    for where, part in [("the root", bundle), *bundle["targets"].items()]:
        if "host" in (part.get("workspace") or {}):
            yield f"{where} names a workspace host: it would win over DATABRICKS_HOST"
    for name, target in bundle["targets"].items():
        if target.get("mode") == "production" and "root_path" not in (target.get("workspace") or {}):
            yield f"target {name} is production without workspace.root_path"


def _job_problems(job: dict[str, Any], folder: Path) -> Iterator[Problem]:
    if "pause_status" in yaml.safe_dump(job):
        yield "an explicit pause_status survives in dev mode"
    if STREAMING in job and job.get("max_concurrent_runs") != 1:
        yield "a stream must have max_concurrent_runs: 1"
    clusters = {cluster["job_cluster_key"] for cluster in job.get("job_clusters", [])}
    for task in job["tasks"]:
        if not {"job_cluster_key", "environment_key", "existing_cluster_id"} & set(task):
            yield f"task {task['task_key']} names no compute"
        if task.get("job_cluster_key", "") not in clusters | {""}:
            yield f"task {task['task_key']} names the unknown cluster {task['job_cluster_key']}"
        file = task.get("spark_python_task", {}).get("python_file")
        if file and not (folder / file).is_file():
            yield f"{file} does not exist"
        elif file and (folder / file).read_text().startswith("# Databricks notebook source"):
            yield f"{file} is a notebook"


def _parameter_problems(
    job: dict[str, Any], root: Path, confs: list[str], commands: Iterable[str]
) -> Iterator[Problem]:
    """Files of the workspace that a task is given, and commands of the wheel."""
    for task in job["tasks"]:
        wheel = task.get("python_wheel_task", {})
        if wheel and wheel["entry_point"] not in commands:
            yield f"the wheel has no command {wheel['entry_point']}"
        for parameter in (*task.get("spark_python_task", {}).get("parameters", ()), *wheel.get("parameters", ())):
            if not str(parameter).startswith(WORKSPACE):
                continue
            named = str(parameter).removeprefix(WORKSPACE)
            for file in {named.replace("${var.conf}", conf) for conf in confs}:
                if not (root / file).is_file():
                    yield f"{file} does not exist"


def _variable_problems(bundle: dict[str, Any], texts: list[str], root: Path) -> Iterator[Problem]:
    declared = bundle.get("variables", {})
    for name in sorted({name for text in texts for name in REFERENCE.findall(text)} - set(declared)):
        yield f"${{var.{name}}} is not declared"
    for target, part in bundle["targets"].items():
        for name, variable in declared.items():
            by_hand = "give it with --var" in variable.get("description", "")
            if not by_hand and "default" not in variable and name not in part.get("variables", {}):
                yield f"variable {name} has no value in target {target}"
