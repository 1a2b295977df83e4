"""Every notebook runs from its first cell to its last on a deployment, and is kept without what a run leaves in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
import yaml

from tests.cli.deploying import Deployment
from tests.stories import CONF, delete, job, upsert

NOTEBOOKS = sorted((CONF.parent / "notebooks").glob("*.ipynb"))


def cells(notebook: Path) -> list[dict[str, Any]]:
    return json.loads(notebook.read_text())["cells"]


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """Settings of a small deployment, with one of everything."""
    deployment = Deployment(tmp_path)
    people = [
        upsert(
            f"r{n}",
            n,
            {"title": f"Nurse {n}", "summary": "Cares.", "skills": ["care"], "experience": "9 years"},
            topic="jude.public.resumes",
        )
        for n in (1, 2)
    ]
    jobs = [upsert(f"j{n}", n, job(f"Baker {n}")) for n in (1, 2, 3)]
    deployment.apply(*jobs, *people)
    deployment.apply(upsert("j1", 10, job("Cook")), upsert("j2", 11, job("") | {"description": ""}), delete("j3", 12))
    conf = tmp_path / "settings.yml"
    places = {"tables": {"root": str(deployment.root)}, "stream": {"checkpoint": str(tmp_path / "checkpoint")}}
    conf.write_text(yaml.safe_dump({"extends": str(CONF / "test.yml"), **places}))
    return conf


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_runs(notebook: Path, conf: Path, monkeypatch: pytest.MonkeyPatch):
    mpl.use("Agg")
    monkeypatch.setenv("JUDE_CONF", str(conf))
    monkeypatch.chdir(notebook.parent)
    code = ["".join(cell["source"]) for cell in cells(notebook) if cell["cell_type"] == "code"]
    assert code
    scope: dict[str, Any] = {"__name__": "notebook"}
    for number, source in enumerate(code, 1):
        exec(compile(source, f"{notebook.name}, code cell {number}", "exec"), scope)
    assert set(scope["fates"].index) == {"job", "resume"}
    assert len(scope["history"]) == 2


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_output_is_kept(notebook: Path):
    code = [cell for cell in cells(notebook) if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
