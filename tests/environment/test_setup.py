"""The set-up script, run again after something went wrong."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]


def test_an_environment_whose_making_was_interrupted_is_made_anew(tmp_path: Path) -> None:
    """`python -m venv` puts the interpreter there first and pip some seconds later."""
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements/run.txt").touch()
    (tmp_path / "scripts").mkdir()
    shutil.copy(PROJECT / "scripts/setup.sh", tmp_path / "scripts")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / ".venv"], check=True)
    env = {**os.environ, "NO_UV": "1", "PYTHON": sys.executable, "PIP_NO_INDEX": "1"}

    said = subprocess.run(
        ["sh", "scripts/setup.sh", "run"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )

    assert "making .venv" in said.stdout
    subprocess.run([tmp_path / ".venv/bin/python", "-m", "pip", "--version"], check=True, capture_output=True)
