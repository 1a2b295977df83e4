"""Layers of configuration: base.yml <- the given file <- `--set a.b=c`, then `${VARIABLE}` from the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, Final, get_type_hints

import yaml

from jude.errors import TerminalSettingsError
from jude.settings.models import Settings
from jude.settings.reading import dotted, parse_yaml, read_yaml, source_of, validated

_VARIABLE: Final = re.compile(r"\$(\$?)\{([A-Za-z_][A-Za-z0-9_]*)\}")

Layer = tuple[str, dict[str, Any]]
"""Where it was written, and its values."""
Place = tuple[str | int, ...]


def load_settings(conf: Path, overrides: Sequence[str] = (), environ: Mapping[str, str] | None = None) -> Settings:
    """Read one configuration file on top of the `base.yml` beside it (or of what its `extends` names).

    `overrides` are `a.b=c`, c as YAML. `${VARIABLE}` is replaced from the environment, `$${X}` is a literal `${X}`.
    Relative paths are relative to the folder that holds the folder of `conf`: the project, for `conf/local.yml`.

    Raises TerminalSettingsError that names file, key and the nearest valid name.
    """
    conf = conf.absolute()
    values: dict[str, Any] = {}
    origin: dict[Place, str] = {(): str(conf)}
    for written_in, layer in [*_files(conf, ()), *map(_override, overrides)]:
        _lay(layer, values, origin, written_in)
    _resolve(values, origin, os.environ if environ is None else environ)
    return validated(Settings, values, origin, context=conf.parent.parent)


def laid_over(values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Give the values of a file as `--set` with these overrides would make them.

    Raises TerminalSettingsError where an override is not `a.b=c`.
    """
    made: dict[str, Any] = deepcopy(dict(values))
    for written_in, layer in map(_override, overrides):
        _lay(layer, made, {}, written_in)
    return made


def _files(conf: Path, above: tuple[Path, ...]) -> list[Layer]:
    """Read a file and what it extends, the lowest layer first."""
    if conf in above:
        raise TerminalSettingsError(f"{above[-1]}: extends: {conf.name} extends this file already.")
    values = read_yaml(conf)
    extends = values.pop("extends", None if conf.name == "base.yml" else "base.yml")
    if extends is None:
        return [(str(conf), values)]
    if not isinstance(extends, str):
        raise TerminalSettingsError(f"{conf}: extends: name one file, such as base.yml.")
    return [*_files(conf.parent / extends, (*above, conf)), (str(conf), values)]


def _override(assignment: str) -> Layer:
    """Read `a.b=c` as a layer of its own."""
    name, equals, written = assignment.partition("=")
    place = _place(name.strip())
    if not equals or "" in place:
        raise TerminalSettingsError(f"--set {assignment}: write it as section.key=value.")
    try:
        value = parse_yaml(written)
    except yaml.YAMLError:
        raise TerminalSettingsError(
            f"--set {name}: the value is not YAML; quote it if it holds one of {{}}[]:#."
        ) from None
    for key in reversed(place):
        value = {key: value}
    return f"--set {name.strip()}", value


def _place(name: str) -> tuple[str, ...]:
    """Split `source.kafka.options.kafka.group.id` where sections end: the rest is one key with dots in it."""
    steps = name.split(".")
    section: Any = Settings
    for depth, step in enumerate(steps):
        hints = get_type_hints(section)
        if step not in hints:
            return tuple(steps)
        section = hints[step]
        if not is_dataclass(section):
            rest = ".".join(steps[depth + 1 :])
            return (*steps[: depth + 1], rest) if rest else tuple(steps)
    return tuple(steps)


def _lay(
    layer: Mapping[str, Any], values: dict[str, Any], origin: dict[Place, str], written_in: str, at: Place = ()
) -> None:
    """Lay one layer over the values; sections are merged, everything else is replaced."""
    for key, value in layer.items():
        place = (*at, str(key))
        if isinstance(value, dict) and isinstance(values.get(key), dict):
            _lay(value, values[key], origin, written_in, place)
            continue
        values[key] = deepcopy(value)  # an anchor's uses are one object
        for below in [known for known in origin if known[: len(place)] == place]:
            del origin[below]
        origin[place] = written_in


def _resolve(values: dict[str, Any], origin: Mapping[Place, str], environ: Mapping[str, str]) -> None:
    """Put the environment's values in place of `${VARIABLE}`."""
    missing = [
        f"{source_of(origin, place)}: {dotted(place)}: the environment variable {name} is not set."
        for place, text in _texts(values, ())
        for escaped, name in _VARIABLE.findall(text)
        if not escaped and name not in environ
    ]
    if missing:
        raise TerminalSettingsError("\n".join(missing))
    for key, value in values.items():
        values[key] = _replaced(value, environ)


def _texts(value: Any, place: Place) -> Iterator[tuple[Place, str]]:  # noqa: ANN401  any YAML value
    if isinstance(value, str):
        yield place, value
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, child in children:
        yield from _texts(child, (*place, step))


def _replaced(value: Any, environ: Mapping[str, str]) -> Any:  # noqa: ANN401  any YAML value
    if isinstance(value, dict):
        return {key: _replaced(child, environ) for key, child in value.items()}
    if isinstance(value, list):
        return [_replaced(child, environ) for child in value]
    if isinstance(value, str):
        return _VARIABLE.sub(lambda found: found[0][1:] if found[1] else environ[found[2]], value)
    return value
