"""The Kafka source, with the same columns and types as the recorded-file source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import array, coalesce, col, when

from jude.changes.file_source import DDL
from jude.errors import TerminalEnvironmentError, TerminalSettingsError

NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
_HEADERS: Final = DDL[DDL.index("array") :]
_YEARS_1_TO_9999: Final = ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z")
# The offsets of a batch are there when it begins, yet Spark's consumer often waits out a fetch that it sent before.
_MOST_WAIT: Final = "20"
_OURS: Final = (  # in lower case: Spark reads its options in any
    "subscribe", "subscribepattern", "assign", "includeheaders", "kafka.bootstrap.servers", "startingoffsets",
    "failondataloss", "maxoffsetspertrigger",
)  # fmt: skip


def read_kafka(
    spark: SparkSession,
    *,
    bootstrap_servers: str,
    topics: Sequence[str] = (),
    pattern: str | None = None,
    starting_offsets: str = "earliest",
    fail_on_data_loss: bool = True,
    max_offsets_per_trigger: int | None = None,
    options: Mapping[str, str] = NOTHING,
) -> DataFrame:
    """Stream topics, by name or by a pattern of names.

    `options` go to Spark's Kafka source as they are: `kafka.*` to the consumer (security, timeouts), the others to
    Spark (`minPartitions`). `starting_offsets` counts for a new checkpoint only.

    Columns out: topic, partition, offset, timestamp, key, value, headers
    Raises TerminalSettingsError, TerminalEnvironmentError (no Kafka jar).
    """
    if bool(topics) == bool(pattern):
        raise TerminalSettingsError("Name either `source.kafka.topics` or `source.kafka.pattern`, and not both.")
    if taken := sorted(option for option in options if option.lower() in _OURS):
        raise TerminalSettingsError(f"`source.kafka.options` may not hold {taken}: they have settings of their own.")
    subscription = {"subscribe": ",".join(topics)} if topics else {"subscribePattern": str(pattern)}
    bound = {} if max_offsets_per_trigger is None else {"maxOffsetsPerTrigger": str(max_offsets_per_trigger)}
    chosen: dict[str, str] = {
        "kafka.bootstrap.servers": bootstrap_servers,
        "includeHeaders": "true",
        "startingOffsets": starting_offsets,
        "failOnDataLoss": str(fail_on_data_loss).lower(),
        "kafka.fetch.max.wait.ms": _MOST_WAIT,
        **subscription,
        **bound,
        **options,
    }
    return with_our_columns(_load(spark, chosen))


def with_our_columns(records: DataFrame) -> DataFrame:
    """Give Kafka's rows the types of the recorded-file source.

    No headers are an empty list. A time that Python cannot hold (a producer wrote microseconds) is null.
    """
    return records.select(
        col("topic").cast("string"),
        col("partition").cast("int"),
        col("offset").cast("bigint"),
        when(col("timestamp").between(*_YEARS_1_TO_9999), col("timestamp")).cast("timestamp").alias("timestamp"),
        col("key").cast("binary"),
        col("value").cast("binary"),
        coalesce(col("headers"), array()).cast(_HEADERS).alias("headers"),
    )


def _load(spark: SparkSession, options: Mapping[str, str]) -> DataFrame:
    from pyspark.errors import AnalysisException

    try:
        return spark.readStream.format("kafka").options(**options).load()
    except AnalysisException as error:
        if "kafka" in str(error).lower() and "find data source" in str(error).lower():
            raise TerminalEnvironmentError(
                "Spark has no Kafka source. Run `make setup`, or add the package "
                "org.apache.spark:spark-sql-kafka-0-10_2.13 of your Spark version with --packages."
            ) from error
        raise
