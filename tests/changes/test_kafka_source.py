"""The Kafka source against a real broker: the same rows as the recorded files that were produced to it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from jude.changes.kafka_source import read_kafka, with_our_columns
from jude.changes.recorded import read_records
from jude.changes.sources import read_changes
from jude.errors import TerminalSettingsError
from jude.planning.rows import RECORDS
from jude.settings.models import KafkaSettings, SourceSettings
from tests.recording import write_records
from tests.stack.kafka import KafkaBroker, kafka_broker, produce

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

__all__ = ["kafka_broker"]


def topics(
    servers: str,
    *names: str,
    pattern: str | None = None,
    max_rows: int | None = 4,
    options: dict[str, str] | None = None,
) -> SourceSettings:
    kafka = KafkaSettings(servers, names, pattern, options or {})
    return SourceSettings("kafka", None, kafka, "earliest", True, max_rows, None)


def recorded(folder: Path) -> SourceSettings:
    return SourceSettings("files", folder, KafkaSettings("", (), None, {}), "earliest", True, 4, None)


def drain(
    spark: SparkSession, source: SourceSettings, checkpoint: Path
) -> tuple[list[dict[str, Any]], list[int], list[Any]]:
    """Run until all is through: the rows by partition and offset, the batches' sizes, the columns' types."""
    tables: list[pa.Table] = []

    def keep(records: DataFrame, _: int) -> None:
        tables.append(records.toArrow())

    records = read_changes(spark, source)
    writer = records.writeStream.foreachBatch(keep).option("checkpointLocation", str(checkpoint))
    assert writer.trigger(availableNow=True).start().awaitTermination(240), "the query did not end"
    rows = [row for table in tables for row in table.to_pylist()]
    rows.sort(key=lambda r: (r["topic"], r["partition"], r["offset"]))
    types = [(f.name, f.dataType) for f in records.schema.fields]
    return rows, [t.num_rows for t in tables], types


def changes_of(topic: str) -> pa.Table:
    """Ten records over two partitions: headers, a tombstone, bytes that are no text, several changes of one key."""
    lines: list[tuple[int, int, Any, Any, list[Any]]] = [
        (0, 0, b'{"id":"j1"}', b'{"op":"r","after":{"title":"a"}}', []),
        (1, 0, b'{"id":"j2"}', b'{"op":"c","after":{"title":"b"}}', [("note", b"x"), ("note", b"\xff")]),
        (0, 1, b'{"id":"j1"}', b'{"op":"u","after":{"title":"c"}}', []),
        (0, 2, b'{"id":"j1"}', b'{"op":"d","before":{"id":"j1"}}', [("__debezium.newkey", b'{"id":"j9"}')]),
        (0, 3, b'{"id":"j1"}', None, []),
        (0, 4, b'{"id":"j9"}', b'{"op":"c"}', [("__debezium.oldkey", b'{"id":"j1"}'), ("none", None)]),
        (1, 1, b"\x00\xff", b"\xff\xfe", []),
        (1, 2, None, b"not json", []),
        (1, 3, b'{"id":"j2"}', '{"op":"u","after":{"title":"größe \\u202e"}}'.encode(), []),
        (1, 4, b'{"id":"j3"}', b'{"op":"c","after":{"title":"' + b"x" * 2_000_000 + b'"}}', []),
    ]
    return pa.Table.from_pylist(
        [
            {
                "topic": topic,
                "partition": partition,
                "offset": offset,
                "timestamp": 1_714_564_800_123_000 + 1_000 * number,
                "key": key,
                "value": value,
                "headers": [{"key": k, "value": v} for k, v in headers],
            }
            for number, (partition, offset, key, value, headers) in enumerate(lines)
        ],
        RECORDS,
    )


@pytest.mark.spark
def test_kafka_and_files_give_the_same_rows(spark: SparkSession, kafka_broker: KafkaBroker, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_records(tmp_path / "in" / "1.jsonl.gz", changes_of("same.public.jobs"))
    produce(kafka_broker, read_records(tmp_path / "in" / "1.jsonl.gz").to_pylist())

    kafka = topics(kafka_broker.bootstrap_servers, "same.public.jobs")
    from_kafka, kafka_sizes, kafka_types = drain(spark, kafka, tmp_path / "c1")
    from_files, file_sizes, file_types = drain(spark, recorded(tmp_path / "in"), tmp_path / "c2")

    assert from_kafka == from_files
    assert len(from_kafka) == 10
    assert kafka_types == file_types
    assert max(kafka_sizes) <= 4
    assert file_sizes == [4, 4, 2]


@pytest.mark.spark
def test_a_pattern_of_topics_and_a_restart(spark: SparkSession, kafka_broker: KafkaBroker, tmp_path: Path) -> None:
    for topic in ("pattern.public.jobs", "pattern.public.members", "other.public.jobs"):
        produce(kafka_broker, changes_of(topic).slice(0, 3).to_pylist())
    options = {"kafka.metadata.max.age.ms": "1000"}
    source = topics(kafka_broker.bootstrap_servers, pattern=r"pattern\..*", max_rows=None, options=options)
    rows, _, _ = drain(spark, source, tmp_path / "c")
    assert [r["topic"] for r in rows] == ["pattern.public.jobs"] * 3 + ["pattern.public.members"] * 3

    produce(kafka_broker, changes_of("pattern.public.jobs").slice(3, 1).to_pylist())
    rows, _, _ = drain(spark, source, tmp_path / "c")
    assert [(r["topic"], r["partition"], r["offset"]) for r in rows] == [("pattern.public.jobs", 0, 2)]


@pytest.mark.spark
def test_a_time_beyond_all_years_is_none(spark: SparkSession) -> None:
    """A producer wrote microseconds for milliseconds: a broker before Kafka 4 takes the year 55,552 as it is."""
    raw = spark.sql("""
        select 'a' topic, 0 partition, 0L offset, timestamp_millis(ms) timestamp, cast(null as binary) key,
            cast(null as binary) value, cast(null as array<struct<key: string, value: binary>>) headers
        from values (1690999999000000L), (1690999999000L) as times(ms)""")
    rows = with_our_columns(raw).toArrow().select(["timestamp", "headers"]).to_pylist()
    assert rows == [
        {"timestamp": None, "headers": []},
        {"timestamp": datetime(2023, 8, 2, 18, 13, 19, tzinfo=UTC), "headers": []},
    ]


def test_wrong_settings_are_refused() -> None:
    nothing: Any = None
    with pytest.raises(TerminalSettingsError, match="not both"):
        read_kafka(nothing, bootstrap_servers="b:1", topics=("a",), pattern="b")
    with pytest.raises(TerminalSettingsError, match="not both"):
        read_kafka(nothing, bootstrap_servers="b:1")
    for option in ("includeHeaders", "startingOffsets", "failondataloss"):  # Spark reads them in any case
        with pytest.raises(TerminalSettingsError, match=option):
            read_kafka(nothing, bootstrap_servers="b:1", topics=("a",), options={option: "x"})
