"""`--model X`, `--encoder X`: what a model may be called, and which settings of the encoder that stands for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jude.cli.options import settings_of
from jude.errors import TerminalSettingsError

if TYPE_CHECKING:
    from jude.settings import EncoderSettings, Settings

_PLAIN = re.compile(r"/?[A-Za-z][A-Za-z0-9_./-]*")
KINDS = ("all-minilm-l6-v2", "hashing", "grpc")


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a name stands for."""

    kind: str
    path: Path | None = None
    adapter: Path | None = None
    pooling: str | None = None
    mask: str | None = None


def with_model(model: str | None, conf: Path | None, overrides: list[str] | None) -> list[str]:
    """Give the overrides with those of a model after them; without a model as they are."""
    given = list(overrides or ())
    if model is None:
        return given
    settings = settings_of(conf, given)
    chosen = encoder_settings(model, settings)
    return given + [f"encoder.{key}={value}" for key, value in _changes(chosen, settings.encoder)]


def encoder_settings(model: str, settings: Settings) -> Chosen:
    """Give kind, path, adapter, pooling and mask of the encoder for a model by name.

    A name is a packaged model, a model's folder, an adapter's or a training run's folder, or `models:/NAME@ALIAS` and
    `models:/NAME/NUMBER` of the registry that the settings name.
    Raises TerminalSettingsError that says what a name may be.
    """
    if model in KINDS:
        return Chosen(model)
    if model.startswith("models:/"):
        return Chosen("folder", _registered(model, settings))
    folder = Path(model).absolute()
    for adapter in (folder, folder / "adapter"):
        if (adapter / "adapter_config.json").exists():
            return _with_adapter(adapter)
    for inside in (folder, folder / "artifacts" / "model"):
        if (inside / "config.json").exists():
            return Chosen("folder", inside)
    raise TerminalSettingsError(
        f"There is no model {model!r}. Name one of {', '.join(KINDS)}, the folder of a model, an adapter or a training "
        "run, or one of the registry: models:/jude@champion (`jude model list`)."
    )


def _with_adapter(adapter: Path) -> Chosen:
    about = adapter / "jude_training.json"
    if not about.exists():
        raise TerminalSettingsError(
            f"{adapter} does not say its base (it has no {about.name}). Merge it with the base: "
            f"jude model import BASE TARGET --adapter {adapter}"
        )
    said = json.loads(about.read_text())
    kind, path = (said["base"], None) if said["base"] in KINDS else ("folder", Path(said["base"]))
    trained = said["identity"]["settings"]["model"]
    return Chosen(kind, path, adapter, trained["pooling"], trained["mask"])


def _registered(model: str, settings: Settings) -> Path:
    from jude.release.registry import Registry

    registry = Registry(settings.models.store, settings.models.name, make=False)
    return registry.folder(registry.find(model))


def _changes(chosen: Chosen, now: EncoderSettings) -> Iterator[tuple[str, str]]:
    """Yield what the settings do not say already, as YAML: JSON is YAML that no path can break."""
    for key, value in asdict(chosen).items():
        if value != getattr(now, key):
            text = None if value is None else str(value)
            yield key, text if text and _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
