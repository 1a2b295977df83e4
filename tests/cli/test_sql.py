"""`jude sql`: a table of rows, or JSON; Spark's own words where the query is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jude.cli.sql import Rows, show_rows
from tests.cli.deploying import Deployment, too_wide


def test_rows_are_a_table_with_the_seconds_they_took(capsys: pytest.CaptureFixture[str]):
    vector = [0.25, -1.0, 0.5, 0.125, 0.75]
    first: dict[str, Any] = {"id": "j1", "n": 3, "v": vector, "b": b"ab"}
    rows = [first, {"id": "[x]", "n": None, "v": None, "b": None}]
    show_rows(Rows(["id", "n", "v", "b"], rows, True, 4.0, 1.5), as_json=False)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "id n v b"
    assert lines[2:4] == ["j1 3 [0.25, -1, 0.5, 0.125, … 5 numbers] 2 bytes", "[x] null null null"]
    assert lines[-1] == "2 rows (there are more: --limit). Spark took 4.0 s to start, the query 1.5 s."
    show_rows(Rows(["id"], [{"id": "j1"}], False, 0, 0), as_json=True)
    assert json.loads(capsys.readouterr().out) == [{"id": "j1"}]


def test_an_empty_deployment_does_not_start_spark(empty: Deployment):
    assert "Nothing here yet" in empty.ask("sql", "select 1", exit_code=1)


@pytest.mark.spark
def test_the_views_are_there_and_a_wrong_query_is_a_sentence(small: Deployment, monkeypatch: pytest.MonkeyPatch, spark):
    """In the session that all tests share, which must not be stopped."""
    monkeypatch.setattr(type(spark), "stop", lambda session: None)
    query = "select entity_type, count(*) as n from embeddings group by 1 order by 1"
    assert small.ask_json("sql", query) == [{"entity_type": "job", "n": 3}, {"entity_type": "member", "n": 1}]
    twice = "select 'left' as who, 'right' as who, 1 as n"
    assert small.ask_json("sql", twice) == [{"who": "left", "who_2": "right", "n": 1}]
    assert too_wide(small.ask("sql", "select * from embeddings", "--limit", "1").splitlines()[-1]) == []
    said = small.ask("sql", "select nope from embeddings", exit_code=1)
    assert said.startswith("Spark refused the query: [UNRESOLVED_COLUMN")
    assert len(said.splitlines()) == 1
