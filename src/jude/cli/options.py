"""The options that every command shares, and how they become settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from jude.settings import Settings

DEFAULT_CONF: Final = Path("conf/local.yml")
DEMO_CONF: Final = "demo.yml"
PROJECT: Final = Path(__file__).resolve().parents[3]
"""The folder that holds src/ and conf/, where JUDE is installed in place."""

Conf = Annotated[
    Path | None, typer.Option("--conf", help="Settings file; default: conf/local.yml here, above, or of the project.")
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override one setting; may be repeated.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON, for scripts.")]


def find_conf(conf: Path | None) -> Path:
    """Give the settings file: the one named, else conf/local.yml of this folder, one above it, or the project."""
    if conf is not None:
        return conf
    here = Path.cwd()
    return next((p for place in (here, *here.parents, PROJECT) if (p := place / DEFAULT_CONF).is_file()), DEFAULT_CONF)


def settings_of(conf: Path | None, overrides: list[str] | None) -> Settings:
    """Load the settings. Raises TerminalSettingsError that names file, key and a way out."""
    from jude.errors import TerminalSettingsError
    from jude.settings import load_settings

    if conf is not None and conf.name == DEMO_CONF and not conf.exists():
        raise TerminalSettingsError(f"There is no file {conf}: `jude demo` makes it, with its tables.")
    return load_settings(find_conf(conf), overrides or ())
