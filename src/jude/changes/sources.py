"""Choose the source of changes: recorded files or Kafka, one set of columns behind both."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pyspark.sql import DataFrame, SparkSession

from jude.changes.file_source import FORMAT, FolderCursor, JudeChanges
from jude.changes.kafka_source import read_kafka

if TYPE_CHECKING:
    from jude.settings import SourceSettings


def read_changes(spark: SparkSession, source: SourceSettings) -> DataFrame:
    """Stream the raw records of the configured source.

    Columns out: topic, partition, offset, timestamp, key, value, headers
    Raises TerminalSettingsError, TerminalSourceError (folder missing), TerminalEnvironmentError (no Kafka jar).
    """
    if source.kind == "files":
        return _read_files(spark, source)
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


def _read_files(spark: SparkSession, source: SourceSettings) -> DataFrame:
    assert source.path is not None, "the settings refuse kind files without a path"
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
