"""Are the topics still those that the checkpoint speaks of? Asked at the start, and when Spark has given up.

Spark notices records that are gone, in a stack trace of its own. A topic that was made again and has grown past the
checkpoint's offsets it does not notice: the records before them would never be read. So the topics' ids are noted.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson

from jude.changes.kafka_topics import BrokerView, Topic
from jude.errors import TerminalSourceError
from jude.observe import log_event
from jude.settings import Settings
from jude.stream.checkpoint import local_folder
from jude.stream.controls import state_of

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)
TOPICS_NAME: Final = "jude.topics"
Offsets = Mapping[str, Mapping[str, int]]  # topic -> partition -> the next offset to read


def check_topics(spark: SparkSession, settings: Settings) -> None:
    """Refuse to go on over a gap. Does nothing for files, and for a checkpoint on an object store.

    Raises TerminalSourceError with what to do. A broker that does not answer is left to Spark, which waits for it.
    """
    from py4j.protocol import Py4JJavaError

    folder, source = local_folder(settings.stream.checkpoint), settings.source
    if source.kind != "kafka" or source.kafka is None or folder is None:
        return
    read = state_of(settings.stream.checkpoint).offsets or {}
    try:
        with BrokerView(spark, source.kafka.bootstrap_servers, source.kafka.options) as broker:
            pattern = source.kafka.pattern
            subscribed = broker.names(pattern) if pattern else set(source.kafka.topics)
            found = broker.topics(subscribed | read.keys())
    except (Py4JJavaError, TypeError):  # not reachable; or a cluster that hides its Kafka client
        log_event(log, logging.WARNING, "topics_not_checked")
        return
    noted = _noted(folder / TOPICS_NAME)
    require_same(read, noted, found)
    if source.fail_on_data_loss:
        require_all_there(read, found)
    _note(folder / TOPICS_NAME, noted | {name: topic.topic_id for name, topic in found.items()})


def require_same(read: Offsets, noted: Mapping[str, str], found: Mapping[str, Topic]) -> None:
    """Raise TerminalSourceError for a topic that was deleted and made again since it was read."""
    for name, partitions in read.items():
        topic = found.get(name)
        if topic is None:
            continue
        beyond = any(offset > topic.end.get(int(p), 0) for p, offset in partitions.items())
        if beyond or noted.get(name, topic.topic_id) != topic.topic_id:
            raise TerminalSourceError(
                f"The topic {name} was deleted and made again since this checkpoint was written: its offsets count "
                "other records now. The tables are intact. Run `jude stream reset`: the next start reads the topic "
                "from its beginning, and what the tables know is counted stale."
            )


def require_all_there(read: Offsets, found: Mapping[str, Topic]) -> None:
    """Raise TerminalSourceError for records that are gone before they were read."""
    gone = []
    for name, partitions in read.items():
        first = found[name].first if name in found else {}
        gone += [
            f"{name}, partition {p}: read up to {offset}, the oldest record now is {first.get(int(p), 'none')}"
            for p, offset in partitions.items()
            if name not in found or offset < first.get(int(p), 0)
        ]
    if gone:
        raise TerminalSourceError(
            f"Kafka no longer holds all that was not read yet ({'; '.join(gone)}): its retention passed, or the topic "
            "was deleted. The tables are intact. Let Debezium take a new snapshot (docs/operations.md), then start "
            "once with --set source.fail_on_data_loss=false."
        )


def _noted(file: Path) -> dict[str, str]:
    try:
        noted: dict[str, str] = orjson.loads(file.read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return {}
    return noted


def _note(file: Path, ids: Mapping[str, str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_bytes(orjson.dumps(ids))
    partial.replace(file)
