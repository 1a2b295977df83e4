"""What can happen to topics and checkpoints: each ends in correct tables, or in a refusal that says what to do."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jude.errors import TerminalSourceError
from jude.settings import Settings, load_settings
from jude.stream.controls import reset
from jude.stream.topics import check_topics
from tests.stack.kafka import KafkaBroker, kafka_broker, open_admin, produce
from tests.stories import CONF, job, records, upsert
from tests.stream.reading import rows_of
from tests.stream.test_bad_input import live_texts, text_of
from tests.stream.test_stream import RUN, stream

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["kafka_broker"]
pytestmark = pytest.mark.spark
OPTIONS = "source.kafka.options={kafka.metadata.max.age.ms: '500'}"


class Topic:
    """The topic of all job postings, of one test: made anew, read by streams that have a folder of their own."""

    def __init__(self, spark: SparkSession, broker: KafkaBroker, folder: Path) -> None:
        self.spark, self.broker, self.folder = spark, broker, folder
        self.admin = open_admin(broker)
        self.name = "jude.public.jobs"
        self.remove()

    def write(self, *changes: tuple[str, int, str]) -> None:
        """Key, lsn and title of each change."""
        produce(self.broker, records([upsert(key, lsn, job(title)) for key, lsn, title in changes]).to_pylist())

    def remove(self) -> None:
        if self.name in self.admin.list_topics(timeout=10).topics:
            self.admin.delete_topics([self.name])[self.name].result(10)
        wait_until(lambda: self.name not in self.admin.list_topics(timeout=10).topics)

    def forget_before(self, offset: int) -> None:
        """Retention passes."""
        from confluent_kafka import TopicPartition

        place = TopicPartition(self.name, 0, offset)
        for each in self.admin.delete_records([place]).values():
            each.result(10)

    def settings(self, *overrides: str, stream_name: str = "checkpoint", tables: str = "tables") -> Settings:
        places = {
            "source.kind": "kafka", "source.path": "null", "source.kafka.topics": f"[{self.name}]",
            "source.kafka.bootstrap_servers": self.broker.bootstrap_servers, "source.max_offsets_per_trigger": 2,
            "stream.checkpoint": self.folder / stream_name, "tables.root": self.folder / tables,
            "online.path": self.folder / f"{tables}.sqlite",
        }  # fmt: skip
        return load_settings(CONF / "test.yml", [*(f"{k}={v}" for k, v in places.items()), OPTIONS, *overrides])

    def run(self, *overrides: str, **places: str) -> None:
        """Start the stream, as `jude stream run` does, and process all that is there."""
        settings = self.settings(*overrides, **places)
        session = self.spark.newSession()  # a query's name is taken once per session
        check_topics(session, settings)
        stream(session, settings)

    def texts(self, tables: str = "tables") -> dict[str, str]:
        return live_texts(self.folder / tables)


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


def titled(**titles: str) -> dict[str, str]:
    return {key: text_of(title) for key, title in titles.items()}


@pytest.fixture
def topic(spark: SparkSession, kafka_broker: KafkaBroker, tmp_path: Path) -> Topic:
    return Topic(spark, kafka_broker, tmp_path)


def test_records_that_retention_took_stop_the_stream_until_told_to_go_on(topic: Topic) -> None:
    topic.write(("j1", 1, "Baker"), ("j2", 2, "Cook"))
    topic.run()
    topic.write(("j3", 3, "Clerk"), ("j4", 4, "Driver"), ("j5", 5, "Nurse"))
    topic.forget_before(4)
    for _ in range(2):
        with pytest.raises(TerminalSourceError, match=r"read up to 2, the oldest record now is 4.*new snapshot"):
            topic.run()
    assert topic.texts() == titled(j1="Baker", j2="Cook")

    topic.run("source.fail_on_data_loss=false")
    assert topic.texts() == titled(j1="Baker", j2="Cook", j5="Nurse")
    topic.run()  # and strict again


@pytest.mark.parametrize("records_now", [1, 5], ids=["shorter than before", "longer than before"])
def test_a_topic_that_was_made_again_is_refused_until_the_stream_is_reset(topic: Topic, records_now: int) -> None:
    topic.write(("j1", 1, "Baker"), ("j2", 2, "Cook"), ("j3", 3, "Clerk"))
    topic.run()
    topic.run()  # a second start has seen the topic's id
    topic.remove()
    topic.write(*((f"j{n}", 10 + n, "Again") for n in range(1, records_now + 1)))
    with pytest.raises(TerminalSourceError, match=r"made again.*jude stream reset"):
        topic.run()
    assert topic.texts() == titled(j1="Baker", j2="Cook", j3="Clerk")

    reset(str(topic.folder / "checkpoint"), datetime.now(UTC))
    topic.run()
    assert topic.texts() == titled(j1="Baker", j2="Cook", j3="Clerk") | {
        f"j{n}": text_of("Again") for n in range(1, records_now + 1)
    }


def test_an_old_checkpoint_that_was_restored_ends_in_correct_tables(topic: Topic) -> None:
    """Its batches have the numbers of others that were committed, and hold other records."""
    topic.write(("j1", 1, "Baker"), ("j2", 2, "Cook"))
    topic.run()
    shutil.copytree(topic.folder / "checkpoint", topic.folder / "backup")
    topic.write(("j1", 3, "Baker II"), ("j3", 4, "Clerk"), ("j2", 5, "Cook II"))
    topic.run()
    shutil.rmtree(topic.folder / "checkpoint")
    (topic.folder / "backup").rename(topic.folder / "checkpoint")
    topic.write(("j4", 6, "Driver"), ("j1", 7, "Baker III"))
    topic.run("source.max_offsets_per_trigger=4")
    topic.run(stream_name="other", tables="fresh")
    without = (*RUN, "ingested_at", "embedded_at", "available_at")
    for name in ("text_history", "embedding_current"):
        assert rows_of(topic.folder / "tables", name, without) == rows_of(topic.folder / "fresh", name, without), name
    assert topic.texts() == titled(j1="Baker III", j2="Cook II", j3="Clerk", j4="Driver")
    stored = [row["input_hash"] for row in rows_of(topic.folder / "tables", "embedding_store")]
    assert len(stored) == len(set(stored))


def test_two_streams_on_the_same_tables_by_mistake_end_in_the_tables_of_one(topic: Topic) -> None:
    topic.write(*((f"j{n % 3}", n + 1, f"Title {n}") for n in range(10)))
    failures: list[BaseException] = []

    def run(name: str) -> None:
        try:
            topic.run("stream.commit_attempts=50", stream_name=name)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    topic.run(stream_name="alone", tables="fresh")
    for name in ("text_history", "embedding_current"):
        without = (*RUN, "ingested_at", "embedded_at", "available_at")
        assert rows_of(topic.folder / "tables", name, without) == rows_of(topic.folder / "fresh", name, without), name
