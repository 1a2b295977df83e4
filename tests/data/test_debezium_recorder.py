"""The recorder writes for three rows in sight what Debezium writes for them."""

from __future__ import annotations

import pytest

from scripts.debezium_recorder import PLACEHOLDER, Record, Recorder
from scripts.row_changes import JOBS, Change, Row, Transaction

LONG = "a long description " * 200


def job(key: str, title: str, description: str = LONG) -> Row:
    return JOBS.row(id=key, title=title, description=description, status="open", updated_at="2024-01-01T00:00:00Z")


def recorded(*commits: tuple[Change, ...], recorder: Recorder | None = None) -> list[Record]:
    transactions = [Transaction(1_700_000_000_000 + 1000 * i, changes) for i, changes in enumerate(commits)]
    return list((recorder or Recorder(seed=1)).stream(transactions))


def insert(key: str, title: str) -> Change:
    return Change(JOBS, "insert", key, job(key, title))


def test_an_update_of_the_title_does_not_send_the_long_description() -> None:
    update = Change(JOBS, "update", "j1", job("j1", "Chief cook"))
    create, change = recorded((insert("j1", "Cook"),), (update,))
    assert create["value"]["after"]["description"] == LONG
    assert change["value"]["op"] == "u"
    assert change["value"]["before"] is None
    assert (change["value"]["after"]["title"], change["value"]["after"]["description"]) == ("Chief cook", PLACEHOLDER)


def test_an_update_of_the_long_description_sends_it() -> None:
    update = Change(JOBS, "update", "j1", job("j1", "Cook", LONG + "and more"))
    assert recorded((insert("j1", "Cook"),), (update,))[1]["value"]["after"]["description"] == LONG + "and more"


def test_a_key_change_takes_three_records() -> None:
    rekey = Change(JOBS, "rekey", "j2", job("j2", "Cook"), old_key="j1")
    _, delete, tombstone, create = recorded((insert("j1", "Cook"),), (rekey,))
    assert [(r["key"]["id"], r["value"] and r["value"]["op"]) for r in (delete, tombstone, create)] == [
        ("j1", "d"),
        ("j1", None),
        ("j2", "c"),
    ]
    assert delete["headers"] == {"__debezium.newkey": '{"id":"j2"}'}
    assert create["headers"] == {"__debezium.oldkey": '{"id":"j1"}'}
    assert [r["value"]["transaction"]["total_order"] for r in (delete, create)] == [1, 2]
    assert delete["value"]["source"]["lsn"] == create["value"]["source"]["lsn"]
    assert create["value"]["after"]["description"] == PLACEHOLDER


def test_transactions_that_share_a_key_never_overlap_in_the_log() -> None:
    updates = [(Change(JOBS, "update", "j1", job("j1", f"Cook {i}")),) for i in range(50)]
    lsns = [record["value"]["source"]["lsn"] for record in recorded((insert("j1", "Cook"),), *updates)]
    assert lsns == sorted(set(lsns))


def test_the_same_seed_gives_the_same_records() -> None:
    commits = [(insert(f"j{i}", "Cook"), insert(f"k{i}", "Baker")) for i in range(20)]
    again, other = recorded(*commits), recorded(*commits, recorder=Recorder(seed=2))
    assert recorded(*commits) == again
    assert again != other


@pytest.mark.parametrize(
    "change", [Change(JOBS, "update", "j9", job("j9", "Cook")), Change(JOBS, "delete", "j9", None)]
)
def test_a_change_of_a_row_that_is_not_there_is_refused(change: Change) -> None:
    with pytest.raises(ValueError, match="j9"):
        recorded((change,))


def test_an_insert_of_a_row_that_is_there_is_refused() -> None:
    with pytest.raises(ValueError, match="the history is not complete"):
        recorded((insert("j1", "Cook"),), (insert("j1", "Cook"),))


def test_a_row_with_a_column_that_the_table_lacks_is_refused() -> None:
    with pytest.raises(KeyError, match="jobs has no column 'salary'"):
        JOBS.row(id="j1", salary=1)
