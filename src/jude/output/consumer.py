"""A consumer to copy: it keeps the newest vector of every entity in a store of its own.

    python -m jude.output.consumer localhost:9092 copy.sqlite

Delivery is at least once: a replayed batch, a restarted producer and a consumer that died before its commit all send
records again, some of them older than what is known. The guard (a put counts only if its position is greater than the
stored one of that model version and key) makes all of that harmless; offsets are committed after the puts.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from jude.online import OnlineStore, Put, PutStatus, SqliteStore
from jude.output.message import read_record

TOPIC: Final = "jude.embeddings.v1"
MOST_RECORDS: Final = 500
_WAIT_SECONDS: Final = 0.5


def open_consumer(bootstrap_servers: str, group: str, topic: str = TOPIC, **options: str) -> Any:  # noqa: ANN401 - no types
    """Subscribe from the beginning, or from where this group stopped; offsets are committed by us alone."""
    from confluent_kafka import Consumer

    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            **options,
        }
    )
    consumer.subscribe([topic])
    return consumer


def follow(consumer: Any, store: OnlineStore, stop: Callable[[], bool]) -> dict[PutStatus, int]:  # noqa: ANN401 - no types
    """Apply records until `stop`; give how many were stored, repeated and stale.

    Raises KafkaException, ValueError for a record that is not of this topic, and what the store raises: nothing is
    committed then, so the next start reads the same records again.
    """
    counts = dict.fromkeys(PutStatus, 0)
    while not stop():
        records = consumer.consume(MOST_RECORDS, _WAIT_SECONDS)
        puts = _puts(records)
        for result in store.put_many(puts, datetime.now(UTC)):
            counts[result.status] += 1
        if puts:
            consumer.commit(asynchronous=False)
    return counts


def _puts(records: Sequence[Any]) -> list[Put]:
    """Read records; the end of a partition is none."""
    from confluent_kafka import KafkaError, KafkaException

    puts: list[Put] = []
    for record in records:
        if record.error() is None:
            change = read_record(record.key(), record.value(), record.headers() or ())
            key = (change.model_version, change.entity_type, change.entity_id, change.position)
            puts.append(Put(*key, change.vector, change.dtype, change.dim))
        elif record.error().code() != KafkaError._PARTITION_EOF:
            raise KafkaException(record.error())
    return puts


def main(bootstrap_servers: str, path: str) -> None:
    """Keep the SQLite file up to date until interrupted."""
    consumer, store = open_consumer(bootstrap_servers, "jude-embeddings-copy"), SqliteStore(path)
    try:
        follow(consumer, store, stop=lambda: False)
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
    finally:
        consumer.close()
        store.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
