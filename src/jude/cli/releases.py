"""`jude model register | list | show | promote`: trained models, from a run's folder to the champion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jude.cli.eval import Data, MostDocuments, On, open_named_sets, say, show_report, spec_of
from jude.cli.options import AsJson, Conf, Overrides, settings_of

if TYPE_CHECKING:
    from jude.release.registry import Registered, Registry
    from jude.settings import Settings

Wanted = Annotated[str, typer.Argument(metavar="VERSION", help="A number, or an alias.")]


def add_commands(model: typer.Typer) -> None:
    """Give `jude model` its commands about registered models."""
    commands: dict[str, Callable[..., None]] = {
        "register": register_command, "list": list_command, "show": show_command, "promote": promote_command,
    }  # fmt: skip
    for name, command in commands.items():
        model.command(name)(command)


def register_command(
    run: Annotated[Path, typer.Argument(help="The --folder of a training run.")],
    on: On = None,
    data: Data = None,
    documents: MostDocuments = None,
    conf: Conf = None,
    overrides: Overrides = None,
) -> None:
    """Merge a run's adapter, check and measure the merged model, and register it as the challenger."""
    from jude.release.candidates import register_candidate
    from jude.release.trained import read_run
    from jude.stream.opening import now

    made = register_candidate(
        read_run(run), registry_of(settings_of(conf, overrides), make=True), spec_of(None, conf, overrides),
        open_named_sets(on, data, documents), now(), say,
    )  # fmt: skip
    show_report(made.report)
    print(f"\n{made.version.uri} is the {', '.join(made.version.aliases)}: {made.model_version}")
    print(f"Its card: {made.card}")
    print(f"Next: jude model promote {made.version.number}")


def list_command(conf: Conf = None, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """List the registered models, newest first."""
    from jude.cli.show import make_table, open_console, print_json, when

    registry = registry_of(settings_of(conf, overrides))
    versions = registry.versions()
    if as_json:
        print_json([_facts(version) for version in versions])
        return
    if not versions:
        print(f"No version of {registry.name} is registered in {registry.uri} yet: jude model register RUN")
        return
    rows = [
        [str(v.number), ", ".join(v.aliases) or "-", v.tags.get("model_version", "not by jude"), when(v.made_at)]
        for v in versions
    ]
    console = open_console()
    console.print(
        make_table(["version", "alias", "model version", "made (UTC)"], rows, left=("alias", "model version"))
    )


def show_command(wanted: Wanted, conf: Conf = None, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Show one version: its tags, where its files are, and its model card."""
    from jude.cli.show import print_json

    registry = registry_of(settings_of(conf, overrides))
    version = registry.find(wanted)
    folder = registry.folder(version)
    card = folder / "README.md"
    if as_json:
        print_json(_facts(version) | {"folder": str(folder), "card": card.read_text() if card.exists() else None})
        return
    for name, value in {"model": version.uri, "alias": ", ".join(version.aliases) or "-", **version.tags}.items():
        print(f"{name:14} {value}")
    print(f"{'folder':14} {folder}")
    print(f"{'use it':14} --set encoder.kind=folder --set encoder.path={folder}")
    if card.exists():
        print(f"\n{card.read_text()}")


def promote_command(
    wanted: Wanted = "challenger",
    on: On = None,
    data: Data = None,
    documents: MostDocuments = None,
    forgetting: Annotated[float, typer.Option("--forgetting", min=0, help="What sts and scifact may lose.")] = 0.02,
    despite: Annotated[str | None, typer.Option("--despite", help="Promote though a gate is shut: the reason.")] = None,
    conf: Conf = None,
    overrides: Overrides = None,
) -> None:
    """Make a version the champion if it is not worse than the one before; a refusal says why."""
    from jude.cli.place import tables_of
    from jude.release.promoting import promote
    from jude.stream.opening import now

    settings = settings_of(conf, overrides)
    done = promote(
        wanted, registry_of(settings), spec_of(None, conf, overrides), open_named_sets(on, data, documents),
        tables_of(settings), now(), forgetting=forgetting, despite=despite, say=say,
    )  # fmt: skip
    show_report(done.report)
    before = f"; before it was {done.former.uri}" if done.former and done.former.number != done.version.number else ""
    print(f"\n{done.version.uri} is the champion{before}.")
    for gate in done.gates:
        print(f"  gate {gate}")
    print(f"model_versions holds {done.model_version}: state building, until a backfill has filled it.")


def registry_of(settings: Settings, *, make: bool = False) -> Registry:
    """Open the registry that the settings name; who only looks leaves none behind."""
    from jude.release.registry import Registry

    return Registry(settings.models.store, settings.models.name, make=make)


def _facts(version: Registered) -> dict[str, object]:
    named = {"uri": version.uri, "number": version.number, "aliases": version.aliases, "made_at": version.made_at}
    return named | {"run_id": version.run_id, "tags": dict(version.tags)}
