"""The folder of entity files, read once at start; the result travels to Spark's executors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from jude.entities.entity import Entity
from jude.errors import TerminalSettingsError
from jude.settings.reading import read_yaml, validated


class Entities(Mapping[str, Entity]):
    """The entity types of a deployment by name, in the order of their files."""

    def __init__(self, entities: Iterable[Entity]) -> None:
        self._by_name = {entity.name: entity for entity in entities}
        self._by_topic = {entity.topic: entity for entity in self._by_name.values()}

    def __getitem__(self, name: str) -> Entity:
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def __repr__(self) -> str:
        return f"Entities({', '.join(f'{e.name} <- {e.topic}' for e in self._by_name.values())})"

    def of_topic(self, topic: str) -> Entity | None:
        """Find the entity type whose changes this topic carries."""
        return self._by_topic.get(topic)


def load_entities(folder: Path) -> Entities:
    """Read one entity per `*.yml` file.

    Raises TerminalSettingsError that names file, key and the nearest valid name.
    """
    files = sorted([*folder.glob("*.yml"), *folder.glob("*.yaml")])
    if not files:
        raise TerminalSettingsError(f"There is no entity in {folder}: write one YAML file per entity type there.")
    found: dict[Path, Entity] = {file: validated(Entity, read_yaml(file), {(): str(file)}) for file in files}
    for attribute in ("name", "topic"):
        _refuse_shared(found, attribute)
    return Entities(found.values())


def _refuse_shared(found: Mapping[Path, Entity], attribute: str) -> None:
    """Names and topics belong to one entity each."""
    taken: dict[str, Path] = {}
    for file, entity in found.items():
        value = getattr(entity, attribute)
        if value in taken:
            raise TerminalSettingsError(f"{file}: {attribute}: {value!r} already belongs to {taken[value]}.")
        taken[value] = file
