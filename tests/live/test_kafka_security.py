"""Source and output over SASL_SSL with client certificates, against a broker that insists on both."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jude.errors import TransientOutputError
from jude.output import EmbeddingChange, open_output
from jude.output.kafka import KafkaOutput
from tests.changes.test_kafka_source import drain, topics
from tests.output.test_kafka_topic import wanted
from tests.stack.certificates import make_certificates
from tests.stack.kafka import KafkaBroker, produce, running_broker
from tests.stories import JOBS, job, upsert

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder)
    return folder


@pytest.fixture(scope="module")
def broker(certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    with running_broker(tmp_path_factory.mktemp("kafka"), certificates) as broker:
        yield broker


def java_options(certificates: Path) -> dict[str, str]:
    """The settings that docs/operations.md shows for Spark's source."""
    login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    return {
        "kafka.security.protocol": "SASL_SSL",
        "kafka.sasl.mechanism": "PLAIN",
        "kafka.sasl.jaas.config": f'{login} username="jude" password="secret";',
        "kafka.ssl.truststore.type": "PEM",
        "kafka.ssl.truststore.location": str(certificates / "ca.crt"),
        "kafka.ssl.keystore.type": "PEM",
        "kafka.ssl.keystore.location": str(certificates / "client.pem"),
    }


def librdkafka_options(certificates: Path, password: str = "secret") -> dict[str, str]:
    """The same for the output."""
    return {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "jude",
        "sasl.password": password,
        "ssl.ca.location": str(certificates / "ca.crt"),
        "ssl.certificate.location": str(certificates / "client.crt"),
        "ssl.key.location": str(certificates / "client.key"),
    }


@pytest.mark.spark
def test_the_source_reads_with_password_and_certificate(
    spark: SparkSession, broker: KafkaBroker, certificates: Path, tmp_path: Path
) -> None:
    produce(broker, [upsert(f"j{n}", n + 1, job("Cook")) for n in range(5)])
    source = topics(broker.secure_servers, JOBS, max_rows=None, options=java_options(certificates))
    rows, _, _ = drain(spark, source, tmp_path / "checkpoint")
    assert [row["offset"] for row in rows] == list(range(5))


def test_the_output_writes_with_password_and_certificate(broker: KafkaBroker, certificates: Path) -> None:
    output = open_output(wanted(broker.secure_servers, "secure", options=librdkafka_options(certificates)))
    assert isinstance(output, KafkaOutput)
    output.publish([EmbeddingChange("job", "j1", "m1", "0001", struct.pack("<f", 1.0), dim=1)])
    output.close()


def test_a_wrong_password_gets_nowhere(
    broker: KafkaBroker, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jude.output.kafka.CONNECT_SECONDS", 2.0)
    with pytest.raises(TransientOutputError, match="secure"):
        open_output(wanted(broker.secure_servers, "secure", options=librdkafka_options(certificates, "wrong")))
