"""Fixtures that every room shares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long files; the order of the others stays."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """One local Spark with Delta for the whole run; starting it takes some seconds."""
    from jude.spark import build_spark

    warehouse = tmp_path_factory.mktemp("warehouse")
    session = build_spark(
        "jude-tests",
        master="local[2]",
        driver_memory="2g",  # it lives through hundreds of tests, and Delta remembers the tables of each
        extra={
            "spark.sql.warehouse.dir": str(warehouse),
            # Tests are many short queries: compiling each, by Spark and then by the JVM, costs more than running it.
            "spark.sql.codegen.wholeStage": "false",
            "spark.sql.codegen.factoryMode": "NO_CODEGEN",
            "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        },
    )
    yield session
    session.stop()
