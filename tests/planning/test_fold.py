"""What the planner makes of one batch, with rows in sight."""

from __future__ import annotations

import pyarrow as pa

from jude.changes.position import Position
from jude.planning import plan_batch
from jude.planning.rows import KNOWN
from jude.text import column_digest, columns_hash, render, text_hash
from tests.stories import PLACEHOLDER, changes, delete, entities, job, record, tombstone, upsert

ENTITIES = entities()
JOB = ENTITIES["job"]


def at(lsn: int, tx_order: int = 0) -> str:
    return str(Position(0, lsn, 1, tx_order, 0))


def known(**keys: dict) -> pa.Table:
    return pa.Table.from_pylist([{"entity_type": "job", "entity_id": key, **row} for key, row in keys.items()], KNOWN)


def live(lsn: int, row: dict, **more: object) -> dict:
    fields = {f.name: row[f.name] for f in JOB.text_fields}
    return {
        "status": "live", "position": at(lsn), "text_position": at(lsn), "input_hash": "i0", "partition": 0,
        "columns_hash": columns_hash(JOB, {n: column_digest(v) for n, v in fields.items()}),
        "topic": "jude.public.jobs",
        "text_hash": text_hash(JOB, render(JOB, fields)), "offset": lsn, "fields": list(fields.items()), **more,
    }  # fmt: skip


def deleted(lsn: int, row: dict) -> dict:
    return live(lsn, row) | {"status": "deleted", "input_hash": None}


def plan(rows: list, state: pa.Table | None = None) -> pa.Table:
    return plan_batch(changes(rows), known() if state is None else state, ENTITIES)


def reasons(planned: pa.Table) -> list[tuple]:
    columns = (planned[n].to_pylist() for n in ("entity_id", "reason", "level"))
    return [(key, reason, level) if level else (key, reason) for key, reason, level in zip(*columns, strict=True)]


def errors(planned: pa.Table) -> list[str | None]:
    return planned["error_class"].to_pylist()


def move(planned: pa.Table, key: str) -> dict:
    (found,) = [r["move"] for r in planned.to_pylist() if r["entity_id"] == key and r["move"]]
    return found


def test_a_new_job_is_a_change():
    planned = plan([upsert("j1", 10, job("Baker", "Bakes bread."), op="c")])
    assert reasons(planned) == [("j1", "changed")]
    assert planned["text"].to_pylist() == ["Title: Baker\nOrganisation: GSA\nLocation: Remote\nBakes bread."]
    assert move(planned, "j1")["position"] == at(10)


def test_other_columns_move_the_position_only():
    planned = plan([upsert("j1", 11, job(status="closed"))], known(j1=live(10, job())))
    assert reasons(planned) == [("j1", "unchanged", "columns")]
    assert (move(planned, "j1")["position"], move(planned, "j1")["text_position"]) == (at(11), at(10))
    assert planned["writes_text"].to_pylist() == [False]


def test_cosmetic_edits_are_skipped_at_text_level():
    planned = plan([upsert("j1", 11, job("  Engineer ", "Builds\u00a0things."))], known(j1=live(10, job())))
    assert reasons(planned) == [("j1", "unchanged", "text")]


def test_late_update_does_not_bring_back_a_deleted_job():
    planned = plan([upsert("j1", 11, job("Old title"))], known(j1=deleted(12, job())))
    assert reasons(planned) == [("j1", "stale")]


def test_a_job_that_comes_back_with_its_old_text_is_a_change():
    planned = plan([upsert("j1", 13, job(), op="c")], known(j1=deleted(12, job())))
    assert reasons(planned) == [("j1", "changed")]
    assert planned["writes_text"].to_pylist() == [True]


def test_only_the_newest_text_is_embedded_and_every_text_is_kept():
    planned = plan([upsert("j1", 11, job("A")), upsert("j1", 12, job("B")), upsert("j1", 13, job("B", status="x"))])
    assert reasons(planned) == [("j1", "superseded"), ("j1", "changed"), ("j1", "unchanged", "columns")]
    assert planned["writes_text"].to_pylist() == [True, True, False]
    assert (move(planned, "j1")["position"], move(planned, "j1")["text_position"]) == (at(13), at(12))


def test_rows_are_folded_by_position_whatever_their_order_in_the_batch():
    planned = plan([upsert("j1", 12, job("B")), upsert("j1", 11, job("A"))])
    assert reasons(planned) == [("j1", "changed"), ("j1", "superseded")]


def test_a_duplicate_record_is_stale():
    planned = plan([upsert("j1", 11, job()), upsert("j1", 11, job(), offset=99)])
    assert reasons(planned) == [("j1", "changed"), ("j1", "stale")]


def test_a_snapshot_row_never_overwrites_a_streamed_one_of_the_same_lsn():
    planned = plan([upsert("j1", 10, job("Old"), op="r", offset=99)], known(j1=live(10, job("New"))))
    assert reasons(planned) == [("j1", "stale")]


def test_delete_then_tombstone():
    planned = plan([delete("j1", 11), tombstone("j1", 12)], known(j1=live(10, job())))
    assert reasons(planned) == [("j1", "deleted"), ("j1", "stale")]
    state = move(planned, "j1")
    assert (state["status"], state["input_hash"], state["text_position"], state["offset"]) == (
        "deleted",
        None,
        at(10),
        11,
    )


def test_a_delete_of_an_unknown_key_is_remembered():
    planned = plan([delete("j9", 11)])
    assert reasons(planned) == [("j9", "deleted")]
    assert move(planned, "j9")["status"] == "deleted"


def test_nothing_but_the_key_is_read_from_a_delete():
    planned = plan([delete("j1", 11)], known(j1=live(10, job())))
    assert move(planned, "j1")["text_hash"] == live(10, job())["text_hash"]
    assert planned["fields"].to_pylist() == [None]


def test_a_tombstone_that_stands_alone_deletes_a_live_key():
    planned = plan([tombstone("j1", 50)], known(j1=live(10, job())))
    assert reasons(planned) == [("j1", "deleted")]
    assert move(planned, "j1")["position"] == str(Position(0, 10, 1, 0, 50))


def test_a_tombstone_below_the_stored_offset_or_of_an_unknown_key_is_stale():
    planned = plan([tombstone("j1", 9), tombstone("j2", 50)], known(j1=live(10, job())))
    assert reasons(planned) == [("j1", "stale"), ("j2", "stale")]


def test_a_redelivered_delete_takes_its_tombstone_along_even_when_the_batch_is_cut_between_them():
    first = plan([delete("j1", 11, offset=60)], known(j1=live(12, job())))
    assert reasons(first) == [("j1", "stale")]
    assert move(first, "j1")["offset"] == 61
    second = plan([tombstone("j1", 61)], known(j1=live(12, job(), offset=61)))
    assert reasons(second) == [("j1", "stale")]


def test_a_delete_behind_a_newer_change_takes_its_tombstone_along_even_when_the_batch_is_cut_between_them():
    """Compaction ate the first delete; the connector sent `d, tombstone, c` again after a restart."""
    rows = [upsert("j1", 12, job(), op="c", offset=5), delete("j1", 11, offset=6)]
    first = plan(rows)
    state = move(first, "j1")
    assert (state["status"], state["offset"]) == ("live", 7)
    second = plan([tombstone("j1", 7)], known(j1=live(12, job(), offset=state["offset"])))
    assert reasons(second) == [("j1", "stale")]


def test_only_a_redelivered_delete_takes_a_tombstone_along():
    """That behind a late update is the first word of a delete; offsets of another partition say nothing."""
    state = known(j1=live(12, job()))
    assert reasons(plan([upsert("j1", 11, job(), offset=60), tombstone("j1", 61)], state)) == [
        ("j1", "stale"),
        ("j1", "deleted"),
    ]
    elsewhere = delete("j1", 11, offset=60) | {"partition": 1}
    assert reasons(plan([elsewhere, tombstone("j1", 61)], state)) == [("j1", "stale"), ("j1", "deleted")]


def test_a_tombstone_after_a_delete_that_cannot_be_read_deletes_wherever_the_batch_is_cut():
    unread, state = delete("j1", -1, offset=60), known(j1=live(10, job()))
    assert reasons(plan([unread], state)) == [("j1", "quarantined")]
    assert reasons(plan([tombstone("j1", 61)], state)) == [("j1", "deleted")]
    assert reasons(plan([unread, tombstone("j1", 61)], state)) == [("j1", "quarantined"), ("j1", "deleted")]


def test_a_lone_tombstone_between_two_lives():
    planned = plan([upsert("j1", 10, job(), offset=1), tombstone("j1", 2), upsert("j1", 12, job(), op="c", offset=3)])
    assert reasons(planned) == [("j1", "superseded"), ("j1", "superseded"), ("j1", "changed")]
    assert planned["writes_text"].to_pylist() == [True, True, True]


def test_a_placeholder_is_restored_before_the_newest_is_chosen():
    rows = [upsert("j1", 11, job("A", "Long text.")), upsert("j1", 12, job("B", PLACEHOLDER))]
    planned = plan(rows)
    assert reasons(planned) == [("j1", "superseded"), ("j1", "changed")]
    assert planned["text"].to_pylist()[1].endswith("Long text.")


def test_a_placeholder_is_restored_from_the_known_fields():
    planned = plan([upsert("j1", 11, job("New title", PLACEHOLDER))], known(j1=live(10, job("Old", "Long text."))))
    assert reasons(planned) == [("j1", "changed")]
    assert planned["text"].to_pylist() == ["Title: New title\nOrganisation: GSA\nLocation: Remote\nLong text."]


def test_a_placeholder_is_digested_from_the_known_fields_where_the_columns_have_changed_since():
    state = known(j1=live(10, job("Same", "Long text."), columns_hash=None))
    assert reasons(plan([upsert("j1", 11, job("Same", PLACEHOLDER))], state)) == [("j1", "unchanged", "text")]


def test_a_placeholder_alone_is_no_change_and_needs_no_fields():
    state = live(10, job("Same", "Long text."), fields=None)
    planned = plan([upsert("j1", 11, job("Same", PLACEHOLDER, status="closed"))], known(j1=state))
    assert reasons(planned) == [("j1", "unchanged", "columns")]


def test_a_placeholder_with_no_earlier_value_is_quarantined_and_never_hashed():
    planned = plan([upsert("j1", 11, job("A", PLACEHOLDER))])
    assert errors(planned) == ["text_unavailable"]
    assert planned["text_hash"].to_pylist() == [None]


def test_a_placeholder_is_not_restored_across_a_quarantined_change():
    rows = [upsert("j1", 11, job("A", 7)), upsert("j1", 12, job("A", PLACEHOLDER)), upsert("j1", 13, job("A", "New."))]
    planned = plan(rows, known(j1=live(10, job("A", "Old."))))
    assert errors(planned) == ["wrong_field_type", "text_unavailable", None]
    assert move(planned, "j1")["quarantined_position"] is None
    blocked = plan(rows[:2], known(j1=live(10, job("A", "Old."))))
    assert (move(blocked, "j1")["position"], move(blocked, "j1")["quarantined_position"]) == (at(10), at(12))
    later = plan(rows[1:2], known(j1=live(10, job("A", "Old."), quarantined_position=at(11))))
    assert errors(later) == ["text_unavailable"]


def test_what_comes_before_the_gap_does_not_close_it():
    state = known(j1=live(10, job("A", "Old."), quarantined_position=at(13)))
    planned = plan([upsert("j1", 11, job("A", "New.")), upsert("j1", 14, job("A", PLACEHOLDER))], state)
    assert errors(planned) == [None, "text_unavailable"]
    closed = plan([upsert("j1", 13, job("A", "New.")), upsert("j1", 14, job("B", PLACEHOLDER))], state)
    assert errors(closed) == [None, None]


def test_a_placeholder_of_a_column_that_is_not_among_the_remembered_ones_is_quarantined():
    state = known(j1=live(10, job("A"), fields=[("title", "A")]))
    assert errors(plan([upsert("j1", 11, job("B", PLACEHOLDER))], state)) == ["text_unavailable"]


def test_a_record_without_a_position_blocks_only_what_is_stored_before_it():
    unread, later = record({"id": "j1"}, b"{broken", offset=9), upsert("j1", 11, job("B", PLACEHOLDER), offset=20)
    assert errors(plan([unread])) == ["not_json"]
    assert errors(plan([unread, later], known(j1=live(10, job(), offset=8)))) == ["not_json", "text_unavailable"]
    assert errors(plan([unread, later], known(j1=live(10, job(), offset=9)))) == ["not_json", None]


def test_a_delete_does_not_close_the_gap():
    rows = [
        upsert("j1", 11, job("A", 7)),
        delete("j1", 12, tx_order=1),
        upsert("j2", 12, job("A", PLACEHOLDER), op="c", tx_order=2, old="j1"),
    ]
    planned = plan(rows, known(j1=live(10, job("A", "Old."))))
    assert errors(planned) == ["wrong_field_type", None, "text_unavailable"]


def test_a_key_change_takes_the_text_along():
    rows = [
        upsert("j2", 11, job("A", PLACEHOLDER), op="c", tx_order=2, old="j1", offset=3),
        delete("j1", 11, tx_order=1, offset=1),
        tombstone("j1", 2),
    ]
    planned = plan(rows, known(j1=live(10, job("A", "Long text."))))
    assert reasons(planned) == [("j2", "changed"), ("j1", "deleted"), ("j1", "stale")]
    assert planned["text"].to_pylist()[0].endswith("Long text.")


def test_a_chain_of_key_changes_in_one_batch():
    rows = [
        delete("j1", 11, tx_order=1), upsert("j2", 11, job("A", PLACEHOLDER), op="c", tx_order=2, old="j1"),
        delete("j2", 12, tx_order=1), upsert("j3", 12, job("B", PLACEHOLDER), op="c", tx_order=2, old="j2"),
    ]  # fmt: skip
    planned = plan(rows, known(j1=live(10, job("A", "Long text."))))
    assert reasons(planned) == [("j1", "deleted"), ("j2", "superseded"), ("j2", "deleted"), ("j3", "changed")]
    assert planned["text"].to_pylist()[3] == "Title: B\nOrganisation: GSA\nLocation: Remote\nLong text."


def test_a_key_change_whose_old_key_was_deleted_in_an_earlier_batch():
    rows = [upsert("j2", 11, job("A", PLACEHOLDER), op="c", tx_order=2, old="j1")]
    planned = plan(rows, known(j1=deleted(11, job("A", "Long text."))))
    assert reasons(planned) == [("j2", "changed")]


def test_a_key_change_takes_no_text_that_the_old_key_got_afterwards():
    came = upsert("j2", 11, job("A", PLACEHOLDER), op="c", tx_order=2, old="j1")
    planned = plan([came], known(j1=live(15, job("Z", "Another job's text."))))
    assert errors(planned) == ["text_unavailable"]
    skipped = live(9, job("A", "Long text.")) | {"position": at(15)}
    assert errors(plan([came], known(j1=skipped))) == [None]


def test_lsns_of_other_keys_do_not_matter():
    planned = plan([upsert("j1", 500, job("A")), upsert("j2", 3, job("B"))])
    assert reasons(planned) == [("j1", "changed"), ("j2", "changed")]


def test_empty_text_is_quarantined():
    nothing = {"title": " ", "organisation": None, "location": "", "description": "<p></p>"}
    planned = plan([upsert("j1", 11, nothing)], known(j1=live(10, job())))
    assert errors(planned) == ["empty_text"]
    assert move(planned, "j1")["position"] == at(10)


def test_a_raised_epoch_wins_over_any_lsn():
    old = live(10, job()) | {"position": str(Position(0, 10**9, 1, 0, 0))}
    from jude.changes.decode import decode
    from tests.stories import NOW, records

    decoded = decode(records([upsert("j1", 5, job("New"))]), ENTITIES, 1, NOW).changes
    assert reasons(plan_batch(decoded, known(j1=old), ENTITIES)) == [("j1", "changed")]


GONE = {"position": at(11, 1), "offset": 1}


def test_what_cannot_be_read_after_a_key_change_keeps_no_text_from_the_new_key():
    """Whether the record comes in one batch with the key change, or in the one after its delete."""
    gone, came = delete("j1", 11, tx_order=1, offset=1), upsert("j2", 11, job("A", PLACEHOLDER), tx_order=2, old="j1")
    unread = record({"id": "j1"}, b"{broken", offset=9)
    before = known(j1=live(10, job("A", "Long text."), offset=0))
    assert errors(plan([gone, came, unread], before)) == [None, None, "not_json"]
    assert errors(plan([came, unread], known(j1=deleted(11, job("A", "Long text.")) | GONE))) == [None, "not_json"]
    assert errors(plan([came], known(j1=deleted(11, job()) | GONE | {"quarantined_position": at(11, 1)}))) == [None]


def test_what_cannot_be_read_before_a_key_change_keeps_its_text_from_the_new_key():
    rows = [
        record({"id": "j1"}, b"{broken", offset=1),
        delete("j1", 11, tx_order=1, offset=2),
        upsert("j2", 11, job("A", PLACEHOLDER), tx_order=2, old="j1", offset=4),
        record({"id": "j1"}, b"{broken", offset=5),
    ]
    planned = plan(rows, known(j1=live(10, job("A", "Old."), offset=0)))
    assert errors(planned) == ["not_json", None, "text_unavailable", "not_json"]
