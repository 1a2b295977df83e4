"""Where a demo keeps its things, and the settings file that makes every other command look there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from jude.cli.options import DEMO_CONF
from jude.cli.show import near
from jude.errors import TerminalEnvironmentError
from jude.settings import Settings, laid_over, load_settings
from jude.stream.checkpoint import locked

BULK_RECORDS_PER_BATCH: Final = 500
"""Small enough for progress every few seconds, large enough that a batch's own half second does not matter."""


@dataclass(frozen=True, slots=True)
class DemoFolder:
    """The folder of one demo."""

    path: Path

    @property
    def conf(self) -> Path:
        """Give the settings file."""
        return self.path / DEMO_CONF

    @property
    def changes(self) -> Path:
        """Give the folder that the stream watches."""
        return self.path / "changes"

    @property
    def checkpoint(self) -> Path:
        """Give the stream's checkpoint."""
        return self.path / "checkpoint"


def make_folder(wanted: Path, *, keep: bool) -> tuple[DemoFolder, str]:
    """Make a fresh folder; an older demo is removed, or kept and the new one made beside it. Gives what was done.

    Raises TerminalEnvironmentError when the folder holds something else, or a demo that still runs.
    """
    path, said = wanted.absolute(), "a fresh folder"
    if keep:
        path, said = _free_place(path), "beside the older ones"
    elif path.exists() and any(path.iterdir()):
        _remove(DemoFolder(path))
        said = "an older demo there was removed"
    path.mkdir(parents=True, exist_ok=True)
    return DemoFolder(path), said


def _free_place(path: Path) -> Path:
    number = 1
    found = path
    while found.exists():
        number += 1
        found = path.with_name(f"{path.name}-{number}")
    return found


def _remove(folder: DemoFolder) -> None:
    if not folder.conf.is_file():
        raise TerminalEnvironmentError(
            f"{near(folder.path)} holds something that is not a demo: it is not touched. Name another --folder."
        )
    with locked(str(folder.checkpoint)):  # a demo that still runs keeps its folder
        pass
    shutil.rmtree(folder.path)


def demo_settings(folder: DemoFolder, conf: Path, overrides: Sequence[str], server: Sequence[str] = ()) -> Settings:
    """Write the demo's settings file on top of `conf`, and load it.

    `overrides` go into the file, those of `server`, which ends with the demo, do not.
    Raises TerminalSettingsError when `conf` is wrong.
    """
    below = load_settings(conf, overrides)
    values = {
        "extends": str(conf.absolute()),
        "source": {
            "kind": "files",
            "path": str(folder.changes),
            "starting_offsets": "earliest",
            "max_offsets_per_trigger": BULK_RECORDS_PER_BATCH,
        },
        "stream": {
            "trigger": "available_now",
            "interval_seconds": 0,
            "checkpoint": str(folder.checkpoint),
            "planner": "driver",
        },
        "tables": {"root": str(folder.path / "tables"), "catalog": None, "schema": None, "writer": "native"},
        "online": {"kind": "sqlite", "path": str(folder.path / "online.sqlite")},
        "output": {"kind": "none"},
        "metrics": {"port": None},
        "log": {"level": "WARNING"},
    }
    head = "# Written by `jude demo`: every command with `--conf` and this file looks at its tables.\n"
    written = _with_places(laid_over(values, overrides), below)
    text = yaml.safe_dump(json.loads(json.dumps(written)), sort_keys=False, allow_unicode=True)
    folder.conf.write_text(head + text, encoding="utf-8")
    return load_settings(folder.conf, server)


def _with_places(values: dict[str, Any], below: Settings) -> dict[str, Any]:
    """Name in full what is relative to the project of `below`: the demo's file lies elsewhere."""
    encoder = {"path": below.encoder.path, "adapter": below.encoder.adapter}
    places = {
        "entities": {"folder": str(below.entities.folder)},
        "encoder": {name: str(path) for name, path in encoder.items() if path},
        "models": {"store": below.models.store},
    }
    return values | {name: values.get(name, {}) | place for name, place in places.items() if place}
