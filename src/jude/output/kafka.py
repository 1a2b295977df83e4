"""The output topic in Kafka: an idempotent producer, and a topic that keeps the newest record of every key."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from jude.errors import TerminalEnvironmentError, TerminalError, TransientOutputError
from jude.observe import log_event
from jude.output.message import EmbeddingChange, Format, write_record

log = logging.getLogger(__name__)

CONNECT_SECONDS: Final = 10.0
# Idempotent: a retry inside the producer neither doubles nor reorders records of a partition.
_ALWAYS: Final = {"enable.idempotence": True, "acks": "all", "client.id": "jude-output", "log_level": 3}
_COMPACT: Final = {"cleanup.policy": "compact", "delete.retention.ms": str(7 * 86_400_000)}


class KafkaOutput:
    """An Output that writes to one topic; records of one entity stay in order."""

    def __init__(
        self, *, bootstrap_servers: str, topic: str, form: Format, partitions: int, timeout_seconds: float,
        options: Mapping[str, str],
    ) -> None:  # fmt: skip
        """Connect, and create the topic where there is none (compacted, with the broker's replication).

        Raises TerminalEnvironmentError (no confluent-kafka), TransientOutputError (not reachable), TerminalError.
        """
        try:
            from confluent_kafka import Producer
        except ImportError as error:
            missing = "The package confluent-kafka is missing: pip install 'jude[live]'."
            raise TerminalEnvironmentError(missing) from error
        self._topic, self._form, self._timeout_seconds = topic, form, timeout_seconds
        common = {"bootstrap.servers": bootstrap_servers, **options}
        _ensure_topic(common, topic, partitions)
        timeout = {"delivery.timeout.ms": int(timeout_seconds * 1000), "linger.ms": 1}
        self._producer: Any = Producer({**_ALWAYS, **timeout, **common})

    def publish(self, changes: Iterable[EmbeddingChange]) -> None:
        """Publish changes; return once every one is acknowledged by all in-sync replicas."""
        failures: list[str] = []

        def delivered(error: object, message: object) -> None:
            if error is not None:
                failures.append(str(error))

        made = list(changes)
        for change in made:
            self._produce(change, delivered)
        waiting = self._producer.flush(self._timeout_seconds + 1)
        if waiting or failures:
            self._producer.purge()  # what is left comes with the replay; a late one would be stale for the guard
            self._producer.poll(0)
            raise TransientOutputError(
                f"{waiting + len(failures)} of {len(made)} records were not acknowledged by the topic {self._topic} "
                f"({failures[0] if failures else 'no answer in time'}). The batch is replayed."
            )

    def close(self) -> None:
        """Send what is left."""
        self._producer.flush(self._timeout_seconds)

    def _produce(self, change: EmbeddingChange, delivered: Any) -> None:  # noqa: ANN401 - a callback of C code
        from confluent_kafka import KafkaException

        record = write_record(change, self._form)
        end = time.monotonic() + self._timeout_seconds
        while True:
            try:
                self._producer.produce(
                    self._topic, key=record.key, value=record.value, headers=record.headers, on_delivery=delivered
                )
                return
            except BufferError as error:  # the local queue is full: let deliveries make room
                if time.monotonic() > end:
                    raise TransientOutputError(f"The topic {self._topic} takes no records: {error}") from error
                self._producer.poll(0.1)
            except KafkaException as error:
                raise TerminalError(f"The producer of {self._topic} refuses a record: {error.args[0]}") from error


def _ensure_topic(common: Mapping[str, str], topic: str, partitions: int) -> None:
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import AdminClient, NewTopic

    admin: Any = AdminClient({**common, "log_level": 3})
    try:
        if topic in admin.list_topics(timeout=CONNECT_SECONDS).topics:
            return
        (created,) = admin.create_topics([NewTopic(topic, partitions, -1, config=dict(_COMPACT))]).values()
        created.result(CONNECT_SECONDS)
    except KafkaException as error:
        reason = error.args[0]
        if reason.code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return
        if reason.code() in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED):
            raise TerminalError(f"The output topic {topic} is not there, and we may not create it: {reason}") from error
        raise TransientOutputError(f"The broker of the output topic {topic} does not answer: {reason}") from error
    log_event(log, logging.INFO, "output_topic_created", topic=topic, partition_count=partitions)
