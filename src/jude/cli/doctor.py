"""`jude doctor`: what this machine and this configuration have, and how to get what they lack."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from jude.cli.options import PROJECT, settings_of
from jude.cli.show import near, open_console, plain, print_json
from jude.environment import Check, check_environment
from jude.errors import JudeError, TerminalSettingsError

if TYPE_CHECKING:
    from jude.settings import Settings

_MARK: Final = {(True, True): "ok", (True, False): "ok", (False, True): "MISSING", (False, False): "--"}
_STYLE: Final = {(True, True): None, (True, False): None, (False, True): "bold red", (False, False): "yellow"}


def examine(conf: Path | None, overrides: list[str] | None) -> list[Check]:
    """Look at everything; nothing here raises: a broken configuration is a finding too."""
    checks = check_environment(PROJECT if (PROJECT / "conf").is_dir() else None)
    try:
        settings = settings_of(conf, overrides)
    except JudeError as error:
        return [*checks, Check("configuration", False, str(error), "mend it, or name another file with --conf")]
    return [*checks, *_configured(settings)]


def show_checks(checks: list[Check], *, as_json: bool) -> None:
    """Print one line per finding, and the way out below; leave with 1 where something needed is missing."""
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        _print_checks(checks)
    if any(not check.ok and check.required for check in checks):
        raise typer.Exit(1)


def _print_checks(checks: list[Check]) -> None:
    from rich.table import Table

    console = open_console()
    table = Table.grid(padding=(0, 2))
    for check in checks:
        style = _STYLE[check.ok, check.required]
        table.add_row(_MARK[check.ok, check.required], check.name, plain(check.found), style=style)
        if not check.ok and check.hint:
            table.add_row("", "", f"-> {check.hint}")
    console.print(table)
    lacking = [check.name for check in checks if not check.ok and check.required]
    console.print(f"\nMissing: {', '.join(lacking)}." if lacking else "\nAll that is needed is here.")


def _configured(settings: Settings) -> Iterator[Check]:
    """Look at what the configuration names."""
    yield _entities(settings.entities.folder)
    yield _source(settings)
    if settings.tables.root is None:
        yield Check("tables", True, f"schema {settings.tables.schema}, which only Spark can tell more about")
    else:
        yield _writable("tables", settings.tables.root)
    if settings.online.kind == "sqlite":
        yield _writable("online store", str(settings.online.path), is_file=True)


def _entities(folder: Path) -> Check:
    from jude.entities import load_entities

    try:
        return Check("entities", True, f"{', '.join(load_entities(folder))} in {near(folder)}")
    except TerminalSettingsError as error:
        return Check("entities", False, str(error), "mend that file; conf/entities/job.yml explains every key")


def _source(settings: Settings) -> Check:
    source = settings.source
    if source.kind == "kafka":
        topics = ", ".join(source.kafka.topics) or source.kafka.pattern
        return Check("source", True, f"Kafka at {source.kafka.bootstrap_servers}, topics {topics} (not asked)")
    folder = Path(str(source.path))
    files = sum(1 for file in folder.glob("*.jsonl*") if file.name[0] not in "._")
    found = f"{files} recorded files in {near(folder)}" if folder.is_dir() else f"no folder {near(folder)}"
    return Check("source", folder.is_dir(), found, "create it, or set source.path")


def _writable(name: str, place: str, *, is_file: bool = False) -> Check:
    if "://" in place:
        return Check(name, True, f"{place} (not asked)")
    path = Path(place)
    there = next(p for p in (path, *path.parents) if p.exists())
    if there.is_dir() == (is_file and there == path):
        found = f"{near(there)} is {'a folder' if there.is_dir() else 'no folder'}"
        return Check(name, False, found, "move it away, or name another place")
    if os.access(there, os.W_OK):
        return Check(name, True, near(path) if path.exists() else f"{near(path)} (made by the first run)")
    return Check(name, False, f"{near(there)} cannot be written", "make it writable, or name another place")
