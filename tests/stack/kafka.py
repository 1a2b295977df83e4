"""A real Kafka broker without Docker: one KRaft process on loopback, its jars fetched once through pyspark's Ivy.

A room that needs it says so in its conftest or test module: `from tests.stack.kafka import kafka_broker`.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from jude.environment import java_home

VERSION: Final = "4.3.1"
JARS: Final = Path(__file__).parents[2] / ".spark" / "kafka" / VERSION
FETCH_SECONDS: Final = 300
START_SECONDS: Final = 60

_IVY: Final = f"""<ivy-module version="2.0">
  <info organisation="jude" module="kafka-broker"/>
  <configurations><conf name="default"/></configurations>
  <dependencies>
    <dependency org="org.apache.kafka" name="kafka_2.13" rev="{VERSION}" conf="default->runtime,default"/>
  </dependencies>
</ivy-module>"""

_PROPERTIES: Final = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker}
controller.listener.names=CONTROLLER
log.dirs={state}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
message.max.bytes=16777216
"""


@dataclass(frozen=True, slots=True)
class KafkaBroker:
    """A running broker: where it listens."""

    bootstrap_servers: str
    secure_servers: str = ""  # SASL_SSL with client certificates; only where the broker was started so


_SECURE: Final = """listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL
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


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """Start one broker for the whole run; skip with a reason where its jars cannot be had."""
    with running_broker(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@contextmanager
def running_broker(folder: Path, certificates: Path | None = None) -> Iterator[KafkaBroker]:
    """Run a broker; with certificates it also listens where a client needs one, and a password (jude, secret)."""
    pytest.importorskip("confluent_kafka")
    jars = fetch_jars()
    broker, controller, secure = free_ports(3)
    properties = folder / "server.properties"
    text = _PROPERTIES.format(broker=broker, controller=controller, state=folder / "state")
    if certificates is not None:
        text = re.sub("(?m)^(listeners|advertised.listeners)=.*", rf"\g<0>,SASL_SSL://127.0.0.1:{secure}", text)
        text += _SECURE.format(certificates=certificates)
    properties.write_text(text)
    storage = [*java(jars), "kafka.tools.StorageTool"]
    cluster = subprocess.run([*storage, "random-uuid"], check=True, capture_output=True, text=True).stdout.split()[-1]
    subprocess.run([*storage, "format", "-t", cluster, "-c", str(properties)], check=True, capture_output=True)
    log = folder / "broker.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*java(jars), "kafka.Kafka", str(properties)], cwd=folder, stdout=output, stderr=output
        )
    try:
        wait_until_it_answers(process, broker, log)
        yield KafkaBroker(f"127.0.0.1:{broker}", f"127.0.0.1:{secure}")
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def fetch_jars() -> Path:
    """Resolve the broker's jars once (44 MB) into the project's ignored folder; skip the test without a network."""
    done = JARS / "complete"
    if done.exists():
        return JARS
    shutil.rmtree(JARS, ignore_errors=True)
    JARS.mkdir(parents=True)
    (JARS / "ivy.xml").write_text(_IVY)
    ivy = next(pyspark_jars().glob("ivy-*.jar"))
    command = [
        str(java_home() / "bin" / "java"),
        *("-jar", str(ivy), "-m2compatible", "-cache", str(JARS / "cache"), "-ivy", str(JARS / "ivy.xml")),
        *("-confs", "default", "-types", "jar", "bundle"),
        *("-retrieve", f"{JARS}/libs/[artifact]-[revision](-[classifier]).[ext]"),
    ]
    try:
        fetched = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)
        failed = fetched.stdout[-500:] if fetched.returncode else ""
    except subprocess.TimeoutExpired:
        failed = f"no answer within {FETCH_SECONDS} s"
    if failed or not any((JARS / "libs").glob("kafka_2.13-*.jar")):
        pytest.skip(f"The Kafka broker's jars could not be fetched: {failed}")
    shutil.rmtree(JARS / "cache")
    done.touch()
    return JARS


def java(jars: Path) -> list[str]:
    """Make the command of a small JVM with the broker on its class path."""
    # Kafka's own modules bring no slf4j binding: pyspark's goes first.
    binding = [
        str(jar)
        for name in ("slf4j-api", "log4j-slf4j2-impl", "log4j-api", "log4j-core")
        for jar in pyspark_jars().glob(f"{name}-*.jar")
    ]
    class_path = os.pathsep.join([*binding, f"{jars / 'libs'}/*"])
    small = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.level=WARN"]
    return [str(java_home() / "bin" / "java"), *small, "-cp", class_path]


def pyspark_jars() -> Path:
    import pyspark

    return Path(pyspark.__file__).parent / "jars"


def free_ports(count: int) -> Sequence[int]:
    """Ask the system for ports that nobody uses now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def wait_until_it_answers(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Wait until the broker takes connections and has a leader for its metadata."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"The Kafka broker ended with {process.returncode}:\n{log.read_text()[-2000:]}")
        try:
            if AdminClient({"bootstrap.servers": f"127.0.0.1:{port}", "log_level": 0}).list_topics(timeout=1).brokers:
                return
        except KafkaException:
            time.sleep(0.1)
    raise RuntimeError(f"The Kafka broker did not answer within {START_SECONDS} s:\n{log.read_text()[-2000:]}")


def produce(broker: KafkaBroker, records: list[dict[str, object]]) -> None:
    """Send rows of RECORDS in their order to their topic and partition; the offset is the broker's."""
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic

    wide: dict[str, int] = {}
    for row in records:
        wide[str(row["topic"])] = max(wide.get(str(row["topic"]), 1), int(str(row["partition"])) + 1)
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    known = admin.list_topics(timeout=10).topics
    new = [NewTopic(topic, partitions, 1) for topic, partitions in wide.items() if topic not in known]
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
            timestamp=int(row["timestamp"].timestamp() * 1000),  # type: ignore[attr-defined]
            headers=[(h["key"], h["value"]) for h in row["headers"]],  # type: ignore[attr-defined]
        )
    assert producer.flush(30) == 0
