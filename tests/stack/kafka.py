"""A real Kafka broker without Docker: that of deploy/stack, alone.

A room that needs it says so in its conftest or test module: `from tests.stack.kafka import kafka_broker`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from deploy.stack.ports import free_ports
from deploy.stack.programs import MissingProgramError
from deploy.stack.stack import Stack

# A listener that wants a client's certificate and a password (jude, secret), beside the open one.
_SECURE: Final = """listeners=PLAINTEXT://127.0.0.1:{{kafka}},CONTROLLER://127.0.0.1:{{kafka_controller}},\
SASL_SSL://127.0.0.1:{secure}
advertised.listeners=PLAINTEXT://127.0.0.1:{{kafka}},SASL_SSL://127.0.0.1:{secure}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL
inter.broker.listener.name=PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\
  user_jude="secret";
ssl.keystore.type=PEM
ssl.keystore.location={certificates}/server.pem
ssl.truststore.type=PEM
ssl.truststore.location={certificates}/ca.crt
ssl.client.auth=required
"""


@dataclass(frozen=True, slots=True)
class KafkaBroker:
    """A running broker: where it listens."""

    bootstrap_servers: str
    secure_servers: str = ""  # only where the broker was started with certificates


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """Start one broker for the whole run; skip with a reason where its jars cannot be had."""
    with running_broker(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@contextmanager
def running_broker(folder: Path, certificates: Path | None = None) -> Iterator[KafkaBroker]:
    """Run a broker; with certificates it also listens where a client needs one, and a password (jude, secret)."""
    (secure,) = free_ports(1)
    more = _SECURE.format(certificates=certificates, secure=secure) if certificates else ""
    stack = Stack(folder, say=lambda line: None, broker=more)
    try:
        stack.up(["kafka"])
        yield KafkaBroker(f"127.0.0.1:{stack.places.ports['kafka']}", f"127.0.0.1:{secure}")
    except MissingProgramError as missing:
        pytest.skip(str(missing))
    finally:
        stack.down()


def open_admin(broker: KafkaBroker) -> Any:
    """Open what makes topics and takes them away."""
    from confluent_kafka.admin import AdminClient

    return AdminClient({"bootstrap.servers": broker.bootstrap_servers})


def produce(broker: KafkaBroker, records: list[dict[str, Any]]) -> None:
    """Send rows of RECORDS in their order to their topic and partition; the offset is the broker's."""
    from confluent_kafka import Producer
    from confluent_kafka.admin import NewTopic

    wide: dict[str, int] = {}
    for row in records:
        wide[row["topic"]] = max(wide.get(row["topic"], 1), row["partition"] + 1)
    admin = open_admin(broker)
    known = admin.list_topics(timeout=10).topics
    keep = {"retention.ms": "-1"}  # the stories are dated long ago: the broker would delete them at its next look
    new = [NewTopic(topic, partitions, 1, config=keep) for topic, partitions in wide.items() if topic not in known]
    created = admin.create_topics(new) if new else {}
    for each in created.values():
        each.result(30)
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "message.max.bytes": 15_000_000})
    for row in records:
        producer.produce(
            row["topic"],
            key=row["key"],
            value=row["value"],
            partition=row["partition"],
            timestamp=int(row["timestamp"].timestamp() * 1000),
            headers=[(h["key"], h["value"]) for h in row["headers"]],
        )
    assert producer.flush(30) == 0
