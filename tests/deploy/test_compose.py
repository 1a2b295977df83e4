"""The containers are the same stack as the processes: same versions, same settings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.stack import jars, services
from jude.entities import load_entities
from jude.settings import load_settings

DEPLOY = Path(__file__).parents[2] / "deploy"
CONF = Path(__file__).parents[2] / "conf"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    made: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yml").read_text())["services"]
    return made


def test_both_have_the_same_services_and_versions(compose: dict[str, Any]) -> None:
    assert compose.keys() == services.COMMANDS.keys()
    assert compose["kafka"]["image"] == f"apache/kafka:{jars.KAFKA}"
    assert compose["connect"]["image"] == f"quay.io/debezium/connect:{jars.DEBEZIUM}"


def test_every_container_has_a_health_check_and_listens_here_only(compose: dict[str, Any]) -> None:
    assert all("healthcheck" in each for each in compose.values())
    ports = [port for each in compose.values() for port in each["ports"]]
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_broker_has_the_settings_of_the_process(compose: dict[str, Any]) -> None:
    process = dict(line.split("=", 1) for line in services._BROKER.splitlines())
    environment = compose["kafka"]["environment"].items()
    in_container = {name.removeprefix("KAFKA_").lower().replace("_", "."): value for name, value in environment}
    different = ("controller.quorum.voters", "listeners", "advertised.listeners", "inter.broker.listener.name")
    for name, value in in_container.items():
        if name not in (*different, "listener.security.protocol.map"):
            assert str(value) == process[name], name


def test_the_connector_fits_the_containers_and_the_schema(compose: dict[str, Any]) -> None:
    connector = services.connector_settings()
    database = compose["postgres"]["environment"]
    assert connector["database.hostname"] in compose
    assert (connector["database.user"], connector["database.password"], connector["database.dbname"]) == (
        database["POSTGRES_USER"], database["POSTGRES_PASSWORD"], database["POSTGRES_DB"],
    )  # fmt: skip
    schema = (services.HERE / "schema.sql").read_text()
    for table in connector["table.include.list"].replace("public.", "").split(","):
        assert re.search(rf"CREATE TABLE IF NOT EXISTS {table} ", schema)


def test_the_schema_has_every_column_that_the_entities_read() -> None:
    schema = (services.HERE / "schema.sql").read_text()
    for entity in load_entities(CONF / "entities").values():
        (table,) = re.findall(rf"CREATE TABLE IF NOT EXISTS {entity.topic.split('.')[-1]} \((.*?)\n\);", schema, re.S)
        for text_field in entity.text_fields:
            assert re.search(rf"\b{text_field.name} text", table), f"{entity.name}.{text_field.name}"


def test_the_stream_over_the_containers_has_settings(compose: dict[str, Any]) -> None:
    settings = load_settings(DEPLOY / "compose-stream.yml")
    assert settings.online.redis.url.endswith(":6379/0")
    assert settings.source.kafka.bootstrap_servers == settings.output.bootstrap_servers == "localhost:9092"
    assert compose["kafka"]["ports"] == ["127.0.0.1:9092:9092"]
