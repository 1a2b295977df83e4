"""The one way to start Spark."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jude.errors import TerminalEnvironmentError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def test_spark_without_delta_is_refused_before_it_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jude.spark import require_delta_jar

    monkeypatch.setenv("SPARK_HOME", str(tmp_path))
    with pytest.raises(TerminalEnvironmentError, match=r"no Delta jar: unset SPARK_HOME"):
        require_delta_jar()


@pytest.mark.spark
def test_delta_tables_and_utc_work(spark: SparkSession, tmp_path: Path) -> None:
    path = f"{tmp_path}/table"
    spark.sql("SELECT 'j1' AS id, TIMESTAMP '2024-05-01 12:00:00' AS at").write.format("delta").save(path)
    (row,) = spark.sql(f"SELECT id, unix_seconds(at) AS seconds FROM delta.`{path}`").collect()
    assert (row.id, row.seconds) == ("j1", 1_714_564_800)


@pytest.mark.spark
def test_a_second_start_joins_the_running_session(spark: SparkSession) -> None:
    from jude.spark import build_spark

    again = build_spark("another", master=None, shuffle_partitions=2)
    assert again.sparkContext is spark.sparkContext
    assert again.conf.get("spark.sql.adaptive.enabled") == "false"
