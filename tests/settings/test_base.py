"""base.yml is the one place of every value and its meaning."""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import yaml

from jude.settings import Settings, load_settings

CONF = Path(__file__).parents[2] / "conf"
BASE = CONF / "base.yml"
KAFKA = {"JUDE_KAFKA_SERVERS": "broker:9092", "JUDE_KAFKA_USER": "jude", "JUDE_KAFKA_PASSWORD": "secret"}


def keys_of_model(kind: Any, above: str = "") -> set[str]:
    keys = set()
    for name, hint in get_type_hints(kind).items():
        keys |= keys_of_model(hint, f"{above}{name}.") if is_dataclass(hint) else {f"{above}{name}"}
    return keys


def keys_of_file(values: dict[str, object], above: str = "") -> set[str]:
    keys = set()
    for name, value in values.items():
        keys |= keys_of_file(value, f"{above}{name}.") if isinstance(value, dict) and value else {f"{above}{name}"}
    return keys


def test_base_names_every_key_and_no_other() -> None:
    assert keys_of_file(yaml.safe_load(BASE.read_text())) == keys_of_model(Settings)


def test_no_class_has_a_default_of_its_own() -> None:
    sections = [Settings, *(hint for hint in get_type_hints(Settings).values() if is_dataclass(hint))]

    assert [f.name for section in sections for f in fields(section) if f.default is not MISSING] == []


def test_every_key_of_base_has_a_comment() -> None:
    bare = [
        line for line in BASE.read_text().splitlines() if line.startswith("  ") and ": " in line and " # " not in line
    ]

    assert bare == []


@pytest.mark.parametrize("name", ["base", "local", "dev", "prod", "test"])
def test_every_shipped_file_loads(name: str) -> None:
    settings = load_settings(CONF / f"{name}.yml", environ=KAFKA)

    assert settings.entities.folder == CONF / "entities"


def test_the_default_needs_nothing_but_this_machine() -> None:
    settings = load_settings(CONF / "local.yml", environ={})

    assert (settings.source.kind, settings.source.path) == ("files", CONF.parent / "data" / "sample")
    assert (settings.tables.writer, settings.tables.root) == ("native", str(CONF.parent / ".jude" / "tables"))
    assert (settings.online.kind, settings.online.path) == ("sqlite", CONF.parent / ".jude" / "online.sqlite")
    assert settings.stream.checkpoint == str(CONF.parent / ".jude" / "checkpoint")
    assert settings.encoder.kind == "all-minilm-l6-v2"


def test_production_reads_kafka_and_writes_a_catalog() -> None:
    settings = load_settings(CONF / "prod.yml", environ=KAFKA)

    assert (settings.source.kind, settings.source.kafka.bootstrap_servers) == ("kafka", "broker:9092")
    assert (settings.tables.writer, settings.tables.catalog, settings.tables.schema) == ("spark", "jude_prod", "jude")
    assert 'username="jude" password="secret";' in settings.source.kafka.options["kafka.sasl.jaas.config"]
    assert "secret" not in repr(settings)
