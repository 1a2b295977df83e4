"""Databricks' typed models (the package databricks-bundles) take every job as it is, and nothing misspelt."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).parents[2]
PYTHON = PROJECT / ".jude" / "deploy-tools" / "bin" / "python"
JOBS = {
    name: job
    for file in sorted((PROJECT / "resources").glob("*.yml"))
    for name, job in yaml.safe_load(file.read_text())["resources"].get("jobs", {}).items()
}


def read_by_databricks(job: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    if not list(PYTHON.parents[1].glob("lib/*/site-packages/databricks/bundles")):
        pytest.skip("databricks-bundles is not installed here: make check-deploy")
    script = [str(PYTHON), str(Path(__file__).with_name("typed.py"))]
    return subprocess.run(script, input=json.dumps(job), check=False, capture_output=True, text=True)


@pytest.mark.parametrize("name", JOBS)
def test_a_job_reads_as_it_is_written(name: str) -> None:
    read = read_by_databricks(JOBS[name])
    assert read.returncode == 0, read.stderr
    assert json.loads(read.stdout) == JOBS[name]


@pytest.mark.parametrize(
    "wrong", [{"max_concurent_runs": 1}, {"continuous": {"task_retry_mode": "SOMETIMES"}}, {"tasks": [{}]}]
)
def test_a_misspelt_job_is_refused(wrong: dict[str, Any]) -> None:
    assert read_by_databricks(JOBS["embed_stream"] | wrong).returncode == 1
