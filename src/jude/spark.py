"""One way to start Spark: Delta on, UTC, Arrow, quiet, and set for small batches."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pyspark.sql import SparkSession

from jude.environment import SET_UP, java_home, spark_home
from jude.errors import TerminalEnvironmentError

NOTHING: Final[Mapping[str, str]] = MappingProxyType({})

ALWAYS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        # A batch of 20 rows is planned in 10 ms; planning it again between stages costs more than it saves.
        "spark.sql.adaptive.enabled": "false",
        # Delta spreads the reading of its log over 50 tasks by default: 1 task is faster up to about 10 k files.
        "spark.databricks.delta.snapshotPartitions": "1",
        # The source of our MERGEs is a local relation: writing it to disk first only costs time.
        "spark.databricks.delta.merge.materializeSource": "none",
        "spark.sql.streaming.stopTimeout": "60s",
    }
)
LOCAL: Final[Mapping[str, str]] = MappingProxyType(
    {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        # A laptop's host name may resolve to an address that is gone after the next change of network.
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        # Two small files per batch: rename by the file system API took 40 ms less than by FileContext, which forks.
        "spark.sql.streaming.checkpointFileManagerClass": (
            "org.apache.spark.sql.execution.streaming.checkpointing.FileSystemBasedCheckpointFileManager"
        ),
    }
)


def build_spark(
    app: str,
    *,
    master: str | None,
    driver_memory: str = "2g",
    shuffle_partitions: int = 2,
    extra: Mapping[str, str] = NOTHING,
) -> SparkSession:
    """Start Spark with Delta, or join the session that already runs.

    `master` None leaves the choice to spark-submit or the cluster. `driver_memory` counts only where this process
    starts the JVM: under spark-submit it is given there. `extra` comes last and wins.

    Raises TerminalEnvironmentError where Java or the Delta jar is missing.
    """
    if _starts_its_own_jvm():
        os.environ["JAVA_HOME"] = str(java_home())
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # else workers take the python3 of PATH
        require_delta_jar()
    settings: dict[str, bool | float | int | str | None] = {
        **ALWAYS,
        "spark.sql.shuffle.partitions": str(shuffle_partitions),
    }
    if master is not None:
        settings |= {"spark.master": master, "spark.driver.memory": driver_memory}
    if master is not None and master.startswith("local"):
        settings |= LOCAL
    spark = SparkSession.builder.appName(app).config(map=settings | dict(extra)).getOrCreate()
    spark.sparkContext.setLogLevel("ERROR" if master and master.startswith("local") else "WARN")
    return spark


def require_delta_jar() -> None:
    """Raise TerminalEnvironmentError where Spark would start without Delta."""
    home = spark_home()
    if home is None:
        raise TerminalEnvironmentError(f"Spark is not installed: {SET_UP}.")
    if not any(jar.exists() for jar in (home / "jars").glob("delta-spark_*.jar")):
        way_out = "unset SPARK_HOME" if os.environ.get("SPARK_HOME") else f"{SET_UP}, which fetches the jars once"
        raise TerminalEnvironmentError(f"Spark in {home} has no Delta jar: {way_out}, or put delta-spark there.")


def _starts_its_own_jvm() -> bool:
    """Tell whether no JVM runs yet: under spark-submit, on a cluster and after a first session there is one."""
    from pyspark import SparkContext

    return "PYSPARK_GATEWAY_PORT" not in os.environ and SparkContext._gateway is None
