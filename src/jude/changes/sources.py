"""Choose the source of changes: recorded files or Kafka, one set of columns behind both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from pyspark.sql import DataFrame, SparkSession

from jude.changes.file_source import FORMAT, FolderCursor, JudeChanges
from jude.changes.kafka_source import read_kafka
from jude.errors import TerminalSettingsError


class KafkaSettings(Protocol):
    """`source.kafka` of the configuration."""

    @property
    def bootstrap_servers(self) -> str: ...
    @property
    def topics(self) -> Sequence[str]: ...
    @property
    def pattern(self) -> str | None: ...
    @property
    def options(self) -> Mapping[str, str]: ...


class SourceSettings(Protocol):
    """`source` of the configuration."""

    @property
    def kind(self) -> str: ...
    @property
    def path(self) -> Path | str | None: ...
    @property
    def kafka(self) -> KafkaSettings | None: ...
    @property
    def starting_offsets(self) -> str: ...
    @property
    def fail_on_data_loss(self) -> bool: ...
    @property
    def max_offsets_per_trigger(self) -> int | None: ...
    @property
    def max_files_per_trigger(self) -> int | None: ...


def read_changes(spark: SparkSession, source: SourceSettings) -> DataFrame:
    """Stream the raw records of the configured source.

    Columns out: topic, partition, offset, timestamp, key, value, headers
    Raises TerminalSettingsError, TerminalSourceError (folder missing), TerminalEnvironmentError (no Kafka jar).
    """
    if source.kind == "files":
        return _read_files(spark, source)
    if source.kind == "kafka":
        return _read_kafka(spark, source)
    raise TerminalSettingsError(f"`source.kind` is {source.kind!r}: it may be 'files' or 'kafka'.")


def _read_files(spark: SparkSession, source: SourceSettings) -> DataFrame:
    if not source.path:
        raise TerminalSettingsError("`source.path` is missing: the folder that holds the *.jsonl files.")
    folder = Path(source.path).absolute()
    FolderCursor(folder, fail_on_data_loss=source.fail_on_data_loss).names()  # a clear error here, not in Spark's log
    spark.dataSource.register(JudeChanges)
    options = {
        "path": str(folder),
        "failOnDataLoss": str(source.fail_on_data_loss).lower(),
        "maxRowsPerTrigger": source.max_offsets_per_trigger,
        "maxFilesPerTrigger": source.max_files_per_trigger,
    }
    given = {name: str(value) for name, value in options.items() if value is not None}
    return spark.readStream.format(FORMAT).options(**given).load()


def _read_kafka(spark: SparkSession, source: SourceSettings) -> DataFrame:
    if source.kafka is None:
        raise TerminalSettingsError("`source.kafka` is missing: at least bootstrap_servers and topics or a pattern.")
    return read_kafka(
        spark,
        bootstrap_servers=source.kafka.bootstrap_servers,
        topics=source.kafka.topics,
        pattern=source.kafka.pattern,
        starting_offsets=source.starting_offsets,
        fail_on_data_loss=source.fail_on_data_loss,
        max_offsets_per_trigger=source.max_offsets_per_trigger,
        options=source.kafka.options,
    )
