"""A deployment as the commands see it: settings, entities and the folder of its tables."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

from jude.cli.show import near
from jude.encoder import EncoderSpec, open_tokeniser
from jude.entities import Entities, load_entities
from jude.errors import TerminalError, TerminalSettingsError
from jude.settings import Settings
from jude.stream.opening import encoder_spec, open_tables
from jude.tables.protocol import Tables
from jude.tables.reading import model_of_alias

ROWS_OF_A_STREAM = "embedding_current"


@dataclass(frozen=True)
class Place:
    """Where one deployment keeps its things."""

    settings: Settings
    entities: Entities

    @cached_property
    def root(self) -> str:
        """Give the folder of the tables. Raises TerminalSettingsError for tables of a catalog."""
        if self.settings.tables.root is None:
            raise TerminalSettingsError(
                f"The tables are those of the catalog schema {self.settings.tables.schema}, and this command reads "
                "folders. Use `jude sql`, or a notebook."
            )
        return self.settings.tables.root

    @property
    def is_empty(self) -> bool:
        """Tell whether no stream has made the tables yet."""
        return "://" not in self.root and not (Path(self.root) / ROWS_OF_A_STREAM / "_delta_log").is_dir()

    @cached_property
    def spec(self) -> EncoderSpec:
        """Give what the configured model version is made of."""
        return encoder_spec(self.settings.encoder, self.entities)

    @cached_property
    def model_version(self) -> str:
        """Give the version that holds the alias `current`, else the configured one."""
        return model_of_alias(self.root) or open_tokeniser(self.spec).model_version

    def entity_types(self, wanted: str | None) -> list[str]:
        """Give the entity type that was asked for, or all. Raises TerminalSettingsError for one there is not."""
        if wanted is None:
            return list(self.entities)
        if wanted in self.entities:
            return [wanted]
        close = get_close_matches(wanted, self.entities, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise TerminalSettingsError(f"There is no entity type {wanted!r}.{hint} There are: {', '.join(self.entities)}.")

    def require_rows(self) -> None:
        """Raise TerminalError where no stream has run yet."""
        if self.is_empty:
            raise TerminalError(nothing_here(self.root))


def open_place(settings: Settings) -> Place:
    """Read the entity files. Raises TerminalSettingsError."""
    return Place(settings, load_entities(settings.entities.folder))


def tables_of(settings: Settings) -> Tables:
    """Open the tables to write them; starts Spark where that is the writer."""
    if settings.tables.writer == "native":
        return open_tables(settings.tables, None)
    from jude.stream.run import start_spark

    return open_tables(settings.tables, start_spark(settings))


def nothing_here(root: str) -> str:
    """Say that a deployment is empty, and what fills it."""
    return (
        f"Nothing here yet: {near(root)} holds no tables. "
        "Run `jude stream run --available-now` on your changes, or `jude demo` on the sample."
    )
