"""`jude sql`: a table of rows, or JSON; Spark's own words where the query is wrong."""

from __future__ import annotations

import json
from pathlib import Path
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


@pytest.mark.spark
def test_columns_of_one_name_keep_their_values(small: Deployment, monkeypatch: pytest.MonkeyPatch, spark):
    monkeypatch.setattr(type(spark), "stop", lambda session: None)
    query = (
        "select a.entity_id, b.entity_id, a.entity_type from embeddings a join embeddings b "
        "on a.entity_type = b.entity_type and a.entity_id < b.entity_id order by 1, 2 limit 1"
    )
    assert small.ask_json("sql", query) == [{"entity_id": "j1", "entity_id_2": "j2", "entity_type": "job"}]
    printed = [line.split() for line in small.ask("sql", query).splitlines()]
    assert (printed[0], printed[2]) == (["entity_id", "entity_id_2", "entity_type"], ["j1", "j2", "job"])


@pytest.mark.spark
def test_a_value_that_python_cannot_hold_is_a_sentence(small: Deployment, monkeypatch: pytest.MonkeyPatch, spark):
    monkeypatch.setattr(type(spark), "stop", lambda session: None)
    said = small.ask("sql", "select timestamp'20000-01-01 00:00:00' t", exit_code=1)
    assert said == "The answer cannot be shown: year 20000 is out of range. Cast it to string.\n"


@pytest.mark.spark
@pytest.mark.parametrize(
    "statement",
    [
        "delete from embedding_current",
        "update embedding_current set status = 'deleted'",
        "insert into text_history select * from text_history",
        "with h as (select * from ledger) insert into ledger select * from h",
        "merge into ledger l using (select 1 one) s on false when matched then delete",
        "create table mine as select 1 one",
        "drop view embeddings",
        "vacuum ledger",
        "begin delete from ledger; end",
    ],
)
def test_sql_asks_and_changes_nothing(
    small: Deployment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, spark, statement: str
):
    """The tables are the stream's: a row less in embedding_current, and a late change brings back what was deleted."""
    monkeypatch.setattr(type(spark), "stop", lambda session: None)
    monkeypatch.chdir(tmp_path)
    before = small.contents()
    assert small.ask("sql", statement, exit_code=1).startswith("`jude sql` only reads: ")
    assert small.contents() == before


@pytest.mark.spark
@pytest.mark.parametrize(
    "query", ["show tables", "describe embeddings", "explain select 1", "values (1)", "from ledger"]
)
def test_what_only_looks_is_a_query(small: Deployment, monkeypatch: pytest.MonkeyPatch, spark, query: str):
    monkeypatch.setattr(type(spark), "stop", lambda session: None)
    assert small.ask_json("sql", query)
