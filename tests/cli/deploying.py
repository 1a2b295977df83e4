"""A small deployment in a folder, filled through the pipeline without Spark, and the command line to look at it."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from jude.cli import app
from jude.settings import load_settings
from jude.stream.micro_batch import apply_batch
from jude.stream.opening import open_pipeline
from jude.stream.planned import plan_on_driver
from jude.tables.protocol import Txn
from jude.tables.spec import TABLES
from tests.stories import CONF, NOW, Record, records
from tests.stream.reading import rows_of

COLUMNS = 80


class Deployment:
    """Tables, online store and entity files of its own; conf/test.yml for the rest."""

    def __init__(self, folder: Path, like: Deployment | None = None) -> None:
        """Begin empty, or as a copy of another deployment."""
        self.folder = folder
        self.root = folder / "tables"
        self.changes = folder / "changes"
        self.entities = folder / "entities"
        if like:
            shutil.copytree(like.folder, folder, dirs_exist_ok=True)
        else:
            self.changes.mkdir()
            shutil.copytree(CONF / "entities", self.entities)
        self.settings = load_settings(CONF / "test.yml", self._overrides())
        self.batches: int = like.batches if like else 0
        self._ticks = itertools.count(100 * self.batches)

    def _overrides(self) -> list[str]:
        places = {
            "tables.root": self.root,
            "online.path": self.folder / "online.sqlite",
            "stream.checkpoint": self.folder / "checkpoint",
            "source.path": self.changes,
            "entities.folder": self.entities,
        }
        return [f"{name}={place}" for name, place in places.items()]

    def apply(self, *batch: Record) -> None:
        """Apply one micro-batch, as the stream would; every look at the clock is a second later than the last."""
        pipeline = open_pipeline(self.settings)
        pipeline = replace(pipeline, clock=lambda: NOW + timedelta(seconds=next(self._ticks)))
        rows = records(batch)
        try:
            apply_batch(lambda: plan_on_driver(rows, pipeline), pipeline, Txn("stream", "q1", self.batches))
        finally:
            pipeline.online.close()
        self.batches += 1

    def ask(self, *arguments: str, exit_code: int = 0) -> str:
        """Run a command on this deployment and give what it printed; an error's sentence where it failed."""
        return run(*self._options(arguments), exit_code=exit_code)

    def runner(self, *arguments: str) -> Any:
        """Run a command and give all that came of it."""
        return CliRunner().invoke(app, self._options(arguments), env={"COLUMNS": str(COLUMNS)})

    def _options(self, arguments: Sequence[str]) -> list[str]:
        options = [part for override in self._overrides() for part in ("--set", override)]
        return [*arguments, "--conf", str(CONF / "test.yml"), *options]

    def ask_json(self, *arguments: str) -> Any:
        return json.loads(self.ask(*arguments, "--json"))

    def limit_texts(self, entity_type: str, most_bytes: int) -> None:
        """Rewrite the entity file with another max_text_bytes."""
        file = self.entities / f"{entity_type}.yml"
        file.write_text(re.sub(r"(?m)^max_text_bytes: \d+", f"max_text_bytes: {most_bytes}", file.read_text()))

    def contents(self) -> dict[str, list[dict[str, Any]]]:
        return {name: rows_of(self.root, name) for name in TABLES}


def run(*arguments: str, exit_code: int = 0) -> str:
    """Run `jude`: stdout where it worked, stderr where it failed; never a traceback."""
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": str(COLUMNS)})
    assert result.exit_code == exit_code, result.output
    assert "Traceback" not in result.output
    return result.stderr if exit_code else result.stdout


def words(printed: str) -> str:
    """What was printed, with every run of white space as one blank: for sentences that may be broken."""
    return " ".join(printed.split())


def too_wide(printed: str) -> list[str]:
    return [line for line in printed.splitlines() if len(line) > COLUMNS]
