"""A run's settings from conf/training/*.yml and `--set a.b=c`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from jude.errors import TerminalSettingsError
from jude.settings.reading import Origin, parse_yaml, read_yaml, validated
from jude.training.settings import TrainingSettings


def load_training(path: Path, overrides: Sequence[str] = ()) -> TrainingSettings:
    """Read a run's settings. Paths of pairs are relative to the folder that holds conf/: the project.

    `overrides` are `a.b=c`, c as YAML; a number steps into a list: `phases.0.updates=50`.
    Raises TerminalSettingsError that names file, key and the nearest known key.
    """
    path = path.absolute()
    values = read_yaml(path)
    for override in overrides:
        _lay(values, override)
    phases = values.get("phases")
    for phase in phases if isinstance(phases, list) else ():
        _make_absolute(phase, "pairs", path)
        _make_absolute(phase, "scores", path)
    _make_absolute(values.get("run"), "watch", path)
    origin: Origin = {(): str(path)}
    return validated(TrainingSettings, values, origin)


def _make_absolute(section: Any, key: str, conf: Path) -> None:  # noqa: ANN401  any YAML value
    if isinstance(section, dict) and isinstance(section.get(key), str):
        # PROJECT/conf/training/run.yml; a file that lies less deep has fewer folders above it.
        project = conf.parents[min(2, len(conf.parents) - 1)]
        section[key] = str(project / section[key])


def _lay(values: dict[str, Any], override: str) -> None:
    name, equals, written = override.partition("=")
    if not equals:
        raise TerminalSettingsError(f"--set {override}: write it as section.key=value.")
    try:
        value = parse_yaml(written)
    except yaml.YAMLError:
        raise TerminalSettingsError(f"--set {name}: the value is not YAML; quote it.") from None
    *sections, last = name.strip().split(".")
    place: Any = values
    try:
        for step in sections:
            place = place[int(step)] if isinstance(place, list) else place.setdefault(step, {})
        place[int(last) if isinstance(place, list) else last] = value
    except (AttributeError, IndexError, TypeError, ValueError):
        raise TerminalSettingsError(f"--set {name}: there is no such place in the settings.") from None
