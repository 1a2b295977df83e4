"""The source table changes its shape: what goes on, and what stops with a sentence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from jude.errors import TerminalSourceError
from jude.stream.micro_batch import Applied, apply_batch
from jude.stream.pipeline import Pipeline
from jude.stream.planned import plan_on_driver
from jude.stream.replay import replay_quarantine
from jude.tables.protocol import Txn
from jude.tables.spec import QUARANTINE
from tests.memory import MemoryOnline, MemoryTables
from tests.stories import Record, job, records, upsert
from tests.stream.making import make_pipeline


@pytest.fixture
def pipeline() -> Pipeline:
    return make_pipeline(MemoryTables(), MemoryOnline(), missing_field="stop")


def rows_in(pipeline: Pipeline) -> dict[str, dict[tuple[Any, ...], dict[str, Any]]]:
    assert isinstance(pipeline.tables, MemoryTables)
    return pipeline.tables.rows


def apply(pipeline: Pipeline, number: int, *rows: Record) -> Applied:
    batch = records(rows)
    return apply_batch(lambda: plan_on_driver(batch, pipeline), pipeline, Txn("stream", "q1", number))


def without(column: str) -> dict[str, Any]:
    return {name: value for name, value in job("Cook").items() if name != column}


def test_a_column_that_comes_or_goes_beside_the_text_changes_nothing(pipeline: Pipeline) -> None:
    apply(pipeline, 0, upsert("j1", 10, job("Cook", pay="10")))
    counts = apply(pipeline, 1, upsert("j1", 20, job("Cook", salary=10)), upsert("j1", 30, job("Cook"))).counts["job"]
    assert (counts.unchanged, counts.inferences) == (2, 0)


def test_a_wider_key_type_is_the_same_key(pipeline: Pipeline) -> None:
    apply(pipeline, 0, upsert(7, 10, job("Cook")))  # integer
    counts = apply(pipeline, 1, upsert("7", 20, job("Cook"))).counts["job"]  # then text
    assert (counts.unchanged, counts.inferences) == (1, 0)


def test_a_text_column_that_is_dropped_or_renamed_stops_with_its_name(pipeline: Pipeline) -> None:
    apply(pipeline, 0, upsert("j1", 10, job("Cook")))
    before = {name: dict(rows) for name, rows in rows_in(pipeline).items()}
    with pytest.raises(TerminalSourceError, match=r"job: the row has no column 'title'.*stream\.missing_field") as said:
        apply(pipeline, 1, upsert("j1", 20, {**without("title"), "name": "Cook"}), upsert("j2", 21, without("title")))
    assert "2 records" in str(said.value)
    assert rows_in(pipeline) == before


def test_the_other_records_go_on_where_it_is_asked_for_and_a_replay_heals(pipeline: Pipeline) -> None:
    going_on = replace(pipeline, missing_field="quarantine")
    counts = apply(going_on, 0, upsert("j1", 10, without("title")), upsert("j2", 11, job("Cook"))).counts["job"]
    assert (counts.quarantined, counts.inferences) == (1, 1)
    import pyarrow as pa

    rows = list(rows_in(pipeline)["quarantine"].values())
    done = replay_quarantine(pa.Table.from_pylist(rows, schema=QUARANTINE.schema), pipeline, "r1")
    assert (done.closed, done.still_open) == (0, 1)  # it still lacks the column: told, not stopped
