"""YAML in, validated frozen dataclasses out; whatever is wrong becomes one sentence with file, key and a way out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, TypeVar, get_args, get_origin, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from jude.errors import TerminalSettingsError

T = TypeVar("T")
_MERGE: Final = "tag:yaml.org,2002:merge"
Origin = Mapping[tuple[str | int, ...], str]
"""Which file (or `--set`) a key came from, the last layer last; () is the file that was asked for."""


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML file that holds a mapping.

    Raises TerminalSettingsError when it is missing, is not YAML, holds a key twice or is not a mapping.
    """
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TerminalSettingsError(f"There is no file {path}.{_instead(path)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise TerminalSettingsError(f"{path} could not be read: {error}.") from error
    except yaml.YAMLError as error:
        raise TerminalSettingsError(f"{path} is not YAML: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise TerminalSettingsError(f"{path} must hold keys with values, not a {type(content).__name__}.")
    return content


def parse_yaml(text: str) -> Any:  # noqa: ANN401  any YAML value
    """Read one YAML document.

    Raises yaml.YAMLError, also for a day or a number that does not exist, and for what holds itself.
    """
    try:
        value = yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506  a SafeLoader
    except ValueError as error:
        raise yaml.YAMLError(error) from None
    except RecursionError:
        raise yaml.YAMLError("it is nested too deep") from None
    try:
        json.dumps(value, default=str, skipkeys=True)
    except (ValueError, RecursionError):
        raise yaml.YAMLError("an anchor (&) holds itself, or it is nested too deep") from None
    return value


def validated(kind: type[T], values: Mapping[str, Any], origin: Origin, context: object = None) -> T:
    """Make a settings object of plain YAML values, without any coercion ("5" is no number).

    Raises TerminalSettingsError that lists every mistake: file, key, what is wrong, the nearest valid name.
    """
    try:
        return TypeAdapter(kind).validate_json(json.dumps(values, default=str), strict=True, context=context)
    except ValidationError as error:
        sentences = [_sentence(kind, mistake, origin) for mistake in error.errors(include_url=False)]
        raise TerminalSettingsError("\n".join(sentences)) from None


def dotted(location: tuple[str | int, ...]) -> str:
    """Write a key the way people do: stream.trigger."""
    return ".".join(map(str, location))


def source_of(origin: Origin, location: tuple[str | int, ...]) -> str:
    """Say where a key was written; for a section the last layer that wrote into it, for an unknown key its parent's."""
    for length in range(len(location), 0, -1):
        if inside := [written_in for place, written_in in origin.items() if place[:length] == location[:length]]:
            return inside[-1]
    return origin[()]


def _sentence(kind: type, mistake: ErrorDetails, origin: Origin) -> str:
    location = tuple(mistake["loc"])
    where, key = source_of(origin, location), dotted(location)
    if mistake["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{where}: there is no key {key}.{_nearest(str(location[-1]), key_names(kind, location[:-1]))}"
    if mistake["type"] in ("missing", "missing_argument"):
        return f"{where}: the key {key} is missing."
    reason = mistake["msg"].removeprefix("Value error, ")
    return f"{where}: {key or 'the file'}: {reason[:1].lower()}{reason[1:]}{'' if reason.endswith('.') else '.'}"


def key_names(kind: type, location: tuple[str | int, ...]) -> list[str]:
    """List the keys that a settings object, or the part of it at `location`, knows."""
    found: Any = kind
    for step in location:
        found = _dataclass_in(found if isinstance(step, int) else get_type_hints(found).get(str(step)))
    return [field.name for field in fields(found)] if is_dataclass(found) else []


def _dataclass_in(annotation: Any) -> Any:  # noqa: ANN401  an annotation may be anything
    """Find the dataclass in `X | None`, `tuple[X, ...]` or X itself."""
    if get_origin(annotation) is None:
        return annotation
    return next((found for arg in get_args(annotation) if is_dataclass(found := _dataclass_in(arg))), None)


def _nearest(wrong: str, right: list[str]) -> str:
    close = get_close_matches(wrong, right, n=1, cutoff=0.5)
    return f" Did you mean {close[0]}?" if close else f" The keys here are {', '.join(right)}."


def _instead(path: Path) -> str:
    beside = sorted(p.name for p in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
    return f" In {path.parent} there is: {', '.join(beside)}." if beside else ""


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML lets the last of two equal keys win in silence; we do not. Keys that `<<` brings may be replaced."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, dict | list):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key is a list or a mapping itself: write a value that holds {{ or [[ in quotes",
                    key_node.start_mark,
                )  # fmt: skip
            if isinstance(key, date):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key is a day: write it in quotes", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)
