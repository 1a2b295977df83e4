"""What must not depend on chance: batch cuts, duplicates, interleavings, permutations, replays."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from jude.changes.position import parse_position
from jude.stream.micro_batch import apply_batch
from jude.stream.planned import plan_on_driver
from jude.tables.protocol import Txn
from tests.memory import MemoryOnline, MemoryTables
from tests.stories import NOW, PLACEHOLDER, Record, delete, record, records, tombstone, upsert
from tests.stream.making import make_pipeline
from tests.stream.model import Truth

KEYS = ("j1", "j2", "j3")
TITLES = ("Baker", "Baker ", "Cook", "Driver")
DESCRIPTIONS = ("Bakes.", "Bakes  ", "Cooks all day.", "Drives.")

Op = tuple[str, str, str, str, str]
ops = st.lists(
    st.tuples(
        st.sampled_from(["text", "text", "other", "delete", "rename"]),
        st.sampled_from(KEYS), st.sampled_from(KEYS), st.sampled_from(TITLES), st.sampled_from(DESCRIPTIONS),
    ),
    max_size=14,
)  # fmt: skip


def play(history: list[Op], *, placeholders: bool) -> tuple[Truth, list[list[Record]]]:
    """Run ops on a database: the truth, and per op the records that Debezium writes."""
    truth, commits = Truth(), []
    offsets = itertools.count(100)
    for number, op in enumerate(history):
        commits.append(list(_commit(truth, op, (number + 1) * 10, offsets, placeholders)))
    return truth, [c for c in commits if c]


def _commit(truth: Truth, op: Op, lsn: int, offsets: Iterator[int], placeholders: bool) -> Iterator[Record]:
    kind, key, other, title, description = op
    before = truth.rows.get(key)
    if kind == "delete" or (kind == "rename" and (before is None or other in truth.rows)):
        if before is not None:
            truth.delete(key, lsn)
            yield delete(key, lsn, offset=next(offsets))
            yield tombstone(key, next(offsets))
        return
    if before is not None and kind == "rename":
        row = {**before, "title": title}
        truth.rename(key, other, row, lsn)
        yield delete(key, lsn, tx_order=1, offset=next(offsets))
        yield tombstone(key, next(offsets))
        yield upsert(other, lsn, _sent(row, before, placeholders), op="c", tx_order=2, old=key, offset=next(offsets))
        return
    row = before if kind == "other" and before else {"title": title, "description": description}
    truth.upsert(key, row, lsn)
    yield upsert(key, lsn, _sent(row, before, placeholders), op="u" if before else "c", offset=next(offsets))


def _sent(row: dict[str, str], before: dict[str, str] | None, placeholders: bool) -> dict[str, Any]:
    """What PostgreSQL sends: an unchanged long text is left out."""
    left_out = placeholders and before is not None and before["description"] == row["description"]
    return {
        **row,
        "description": PLACEHOLDER if left_out else row["description"],
        "organisation": "GSA",
        "location": "Remote",
    }


def run(batches: list[list[Record]], query: str = "q1") -> tuple[MemoryTables, MemoryOnline]:
    tables, online = MemoryTables(), MemoryOnline()
    feed(batches, tables, online, query)
    return tables, online


def feed(batches: list[list[Record]], tables: MemoryTables, online: MemoryOnline, query: str) -> None:
    ticks = itertools.count()
    pipeline = make_pipeline(tables, online, clock=lambda: NOW + timedelta(seconds=next(ticks)))
    for number, rows in enumerate(batches):
        batch = records(rows)
        apply_batch(partial(plan_on_driver, batch, pipeline), pipeline, Txn("stream", query, number))


def cut(rows: list[Record], chance: random.Random) -> list[list[Record]]:
    batches: list[list[Record]] = [[]]
    for row in rows:
        if chance.random() < 0.4:
            batches.append([])
        batches[-1].append(row)
    return batches


def served_texts(tables: MemoryTables, online: MemoryOnline) -> dict[str, str | None]:
    """Key -> text of the vector that a reader of the online store gets."""
    by_vector = {}
    for row in tables.rows["embedding_history"].values():
        if row["input_hash"]:
            vector = tables.rows["embedding_store"][row["model_version"], row["input_hash"]]["vector"]
            by_vector[vector] = row["text_hash"]
    texts = {r["text_hash"]: r["text"] for r in tables.rows["text_history"].values()}
    return {key[2]: texts[by_vector[put.vector]] if put.vector else None for key, (put, _) in online.rows.items()}


def check_current(truth: Truth, tables: MemoryTables, online: MemoryOnline) -> None:
    current = {row["entity_id"]: row for row in tables.rows["embedding_current"].values()}
    assert current.keys() == truth.touched.keys()
    texts = {r["text_hash"]: r["text"] for r in tables.rows["text_history"].values()}
    for key, row in current.items():
        place = parse_position(row["position"])
        assert (place.lsn, place.tx_order) == truth.touched[key]
        assert row["status"] == ("live" if key in truth.rows else "deleted")
        if key in truth.rows:
            assert texts[row["text_hash"]] == truth.last_text[key]
            assert (row["model_version"], row["input_hash"]) in tables.rows["embedding_store"]
    assert served_texts(tables, online) == truth.served


def check_histories(truth: Truth, tables: MemoryTables) -> None:
    history = [
        (r["entity_id"], parse_position(r["position"]).lsn, r["text"]) for r in tables.rows["text_history"].values()
    ]
    assert sorted(history, key=str) == sorted(truth.texts, key=str)


def check_ledger(tables: MemoryTables) -> None:
    inferences = sum(row["inferences"] for row in tables.rows["ledger"].values())
    assert inferences == len(tables.rows["embedding_store"])


@given(ops, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_any_batch_cut_and_redelivery_gives_the_same_tables(history: list[Op], chance: random.Random) -> None:
    truth, commits = play(history, placeholders=True)
    rows = [row for commit in commits for row in commit]
    delivered: list[Record] = []
    for position, row in enumerate(rows):
        delivered.append(row)
        if chance.random() < 0.2:  # the connector restarts and sends the last records again, in order
            start = max(0, position - chance.randrange(6))
            while rows[start]["value"] is None:  # it reads the log again, where a tombstone is part of its delete
                start -= 1
            delivered += rows[start : position + 1]
    delivered = [row | {"offset": offset} for offset, row in enumerate(delivered)]  # the broker counts them anew
    tables, online = run(cut(delivered, chance))
    check_current(truth, tables, online)
    check_histories(truth, tables)
    check_ledger(tables)


@given(ops, st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_any_batch_cut_gives_the_same_tables_around_records_that_cannot_be_read(
    history: list[Op], chance: random.Random
) -> None:
    rows: list[Record] = []
    for commit in play(history, placeholders=True)[1]:
        rows += commit
        if chance.random() < 0.3:
            rows.append(record({"id": chance.choice(KEYS)}, b"{broken"))
    rows = [row | {"offset": offset} for offset, row in enumerate(rows, 1)]
    one_by_one, in_batches = (run(batches)[0].rows for batches in ([[row] for row in rows], cut(rows, chance)))
    for table, columns in SAME.items():
        assert columns_of(one_by_one[table], columns) == columns_of(in_batches[table], columns), table


SAME = {
    "embedding_current": ("entity_id", "status", "position", "text_hash", "input_hash", "quarantined_position"),
    "text_history": ("entity_id", "position", "text"),
    "quarantine": ("quarantine_id", "error_class"),
}


def columns_of(rows: dict[Any, dict[str, Any]], columns: tuple[str, ...]) -> list[str]:
    return sorted(str([row[name] for name in columns]) for row in rows.values())


@given(ops, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_any_interleaving_that_keeps_the_order_per_key_gives_the_same_tables(
    history: list[Op], chance: random.Random
) -> None:
    """Keys are dealt to partitions: records of one key keep their order, those of others come earlier or later."""
    truth, commits = play([op for op in history if op[0] != "rename"], placeholders=True)
    queues: dict[bytes, list[Record]] = {}
    for row in (row for commit in commits for row in commit):
        queues.setdefault(row["key"], []).append(row)
    delivered = []
    while any(queues.values()):
        delivered.append(chance.choice([q for q in queues.values() if q]).pop(0))
    tables, online = run(cut(delivered, chance))
    check_current(truth, tables, online)
    check_histories(truth, tables)


@given(ops, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_any_permutation_and_duplication_gives_the_same_current_and_online_state(
    history: list[Op], chance: random.Random
) -> None:
    truth, commits = play([op for op in history if op[0] != "rename"], placeholders=False)
    rows = [row for commit in commits for row in commit]
    delivered = rows + chance.sample(rows, k=len(rows) // 2)
    chance.shuffle(delivered)
    tables, online = run(cut(delivered, chance))
    check_current(truth, tables, online)


@given(ops, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_a_second_query_over_the_same_input_changes_nothing(history: list[Op], chance: random.Random) -> None:
    """A lost checkpoint, or a second stream by mistake: other batches, the same tables."""
    _, commits = play(history, placeholders=True)
    rows = [row for commit in commits for row in commit]
    tables, online = run(cut(rows, chance))
    before = {
        name: dict(tables.rows[name])
        for name in ("text_history", "embedding_history", "embedding_store", "embedding_current")
    }
    served = dict(online.rows)
    feed(cut(rows, chance), tables, online, "q2")
    assert {name: tables.rows[name] for name in before} == before
    assert online.rows == served
