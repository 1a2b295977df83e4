"""The output topic on a real broker, read by the consumer that others copy."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from jude.errors import TerminalError, TransientOutputError
from jude.online import PutStatus, SqliteStore
from jude.output import EmbeddingChange, open_output
from jude.settings.models import OutputSettings
from tests.stack.kafka import KafkaBroker, kafka_broker

__all__ = ["kafka_broker"]
TOPICS = itertools.count()


def wanted(servers: str, topic: str, options: dict[str, str] | None = None) -> OutputSettings:
    return OutputSettings("kafka", servers, topic, "protobuf", 3, 10.0, options or {})


def change(entity_id: str, position: int, number: float | None) -> EmbeddingChange:
    vector = None if number is None else struct.pack("<f", number)
    return EmbeddingChange("job", entity_id, "m1", f"{position:04d}", vector, dim=1)


@pytest.fixture
def topic(kafka_broker: KafkaBroker) -> OutputSettings:
    return wanted(kafka_broker.bootstrap_servers, f"output-{next(TOPICS)}")


def read_all(topic: OutputSettings, store: SqliteStore, group: str) -> dict[PutStatus, int]:
    """Run the consumer until it has stood at the end for a while."""
    from jude.output.consumer import follow, open_consumer

    consumer = open_consumer(topic.bootstrap_servers, group, topic.topic)
    try:
        return follow(consumer, store, until_at_the_end(consumer))
    finally:
        consumer.close()


def until_at_the_end(consumer: Any) -> Callable[[], bool]:
    def at_the_end() -> bool:
        assigned = consumer.assignment()
        ends = (consumer.get_watermark_offsets(p, timeout=5)[1] for p in assigned)
        there = consumer.position(assigned) if assigned else []
        read = [p.offset if p.offset >= 0 else 0 for p in there]
        committed = [max(p.offset, 0) for p in consumer.committed(assigned, timeout=5)] if assigned else []
        done = [max(pair) for pair in zip(read, committed, strict=True)]
        return bool(assigned) and done == list(ends)

    return at_the_end


@pytest.mark.parametrize("form", ["protobuf", "json"])
def test_a_replay_and_a_second_reading_leave_one_truth(
    topic: OutputSettings, form: Literal["protobuf", "json"], tmp_path: Path
) -> None:
    topic = replace(topic, format=form)
    output = open_output(topic)
    first = [change("j1", 1, 1.0), change("j2", 1, 2.0), change("j3", 2, None)]
    second = [change("j1", 3, 3.0), change("j2", 4, None)]
    for batch in (first, second, first, second):  # the stream was killed before its commit, twice
        output.publish(batch)
    output.close()

    store = SqliteStore(tmp_path / "copy.sqlite")
    assert read_all(topic, store, "a") == {
        PutStatus.STORED: 5, PutStatus.ALREADY_THIS_POSITION: 3, PutStatus.NEWER_PRESENT: 2,
    }  # fmt: skip
    assert read_all(topic, store, "a") == dict.fromkeys(PutStatus, 0)  # committed
    assert read_all(topic, store, "b")[PutStatus.STORED] == 0  # a new group reads it all again
    found = store.get_many("m1", "job", ["j1", "j2", "j3"])
    assert [v and struct.unpack("<f", v.vector)[0] for v in found] == [3.0, None, None]
    store.close()


def test_the_topic_that_we_create_is_compacted(topic: OutputSettings) -> None:
    from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

    open_output(topic).close()
    admin = AdminClient({"bootstrap.servers": topic.bootstrap_servers})
    resource = ConfigResource(ResourceType.TOPIC, topic.topic)
    (config,) = (each.result(10) for each in admin.describe_configs([resource]).values())
    assert config["cleanup.policy"].value == "compact"
    assert len(admin.list_topics(topic.topic, timeout=10).topics[topic.topic].partitions) == 3
    open_output(topic).close()  # it is there now


def test_records_of_any_number_and_size_get_through(topic: OutputSettings, tmp_path: Path) -> None:
    topic = replace(topic, options={"queue.buffering.max.messages": "50"})
    output = open_output(topic)
    output.publish([change(f"j{i}", 1, float(i)) for i in range(1000)])
    output.close()
    store = SqliteStore(tmp_path / "copy.sqlite")
    assert read_all(topic, store, "c")[PutStatus.STORED] == 1000
    store.close()


def test_a_record_that_the_producer_refuses_stops_the_job(topic: OutputSettings) -> None:
    output = open_output(topic)
    with pytest.raises(TerminalError, match="refuses a record"):
        output.publish([EmbeddingChange("job", "j1", "m1", "0001", b"\0" * 2_000_000, dim=500_000)])
    output.close()


def test_an_unreachable_broker_is_tried_again_by_the_job() -> None:
    from jude.output import kafka

    nowhere = wanted("127.0.0.1:1", "any")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kafka, "CONNECT_SECONDS", 0.5)
        with pytest.raises(TransientOutputError, match="does not answer"):
            open_output(nowhere)
