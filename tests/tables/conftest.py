"""The tables of a test: made once per run, copied for each test, opened by either writer."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jude.tables.native import NativeTables
from jude.tables.protocol import Tables

BUCKETS = 4
OpenTables = Callable[[], Tables]


@pytest.fixture(scope="session")
def fresh_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Empty tables, as `ensure` makes them."""
    root = tmp_path_factory.mktemp("tables") / "fresh"
    NativeTables(root, buckets=BUCKETS).ensure()
    return root


@pytest.fixture
def root(fresh_root: Path, tmp_path: Path) -> Path:
    """This test's own copy of the empty tables."""
    return Path(shutil.copytree(fresh_root, tmp_path / "jude"))


@pytest.fixture(params=["native", "native-delta-rs", pytest.param("spark", marks=pytest.mark.spark)])
def open_tables(request: pytest.FixtureRequest, root: Path) -> Iterator[OpenTables]:
    """Open the same tables as a new process would: nothing is remembered between two opened ones."""
    if request.param == "spark":
        from jude.tables.spark_tables import SparkTables

        spark = request.getfixturevalue("spark")
        yield lambda: SparkTables(spark, BUCKETS, root=str(root))
    else:
        yield lambda: NativeTables(root, buckets=BUCKETS, link_commits=request.param == "native")


@pytest.fixture
def tables(open_tables: OpenTables) -> Tables:
    """One writer's view of the tables."""
    return open_tables()
