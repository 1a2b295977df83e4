"""The MERGE of embedding_current over Arrow: what a source row does to the target row of its key (spec.MERGE_GUARD)."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jude.errors import TerminalTableError
from jude.tables.spec import EMBEDDING_CURRENT

KEY: Final = EMBEDDING_CURRENT.natural_key


def require_one_row_per_key(rows: pa.Table) -> None:
    """Refuse a source that names a key twice: which row wins would be chance. Raises TerminalTableError."""
    if rows.select(KEY).group_by(list(KEY)).aggregate([]).num_rows != rows.num_rows:
        raise TerminalTableError(
            "merge_current got two rows of one key: keep only the newest of each (planned rows with `newest`)."
        )


def merge_rows(source: pa.Table, target: pa.Table) -> tuple[pa.Table, pa.ChunkedArray]:
    """Merge aligned rows: row i of the target is the row of source row i's key, all null where there is none.

    Returns the rows as they shall be, and a mask of those that differ from the target (insert, update, marker).
    """
    known = pc.is_valid(target["entity_id"])
    newer = _true(pc.greater(source["position"], target["position"]))
    same = _true(pc.equal(source["position"], target["position"]))
    further = pc.or_(
        _true(pc.greater(source["offset"], target["offset"])),
        pc.greater(pc.fill_null(source["quarantined_position"], ""), pc.fill_null(target["quarantined_position"], "")),
    )
    marker = pc.and_(same, further)
    replace = pc.or_(pc.invert(known), newer)
    columns = {
        c.name: pc.if_else(replace, source[c.name], target[c.name])
        for c in EMBEDDING_CURRENT.columns
        if c.name in source.column_names
    }
    columns["available_at"] = pc.if_else(newer, _kept_available_at(source, target), columns["available_at"])
    columns["offset"] = pc.if_else(
        marker,
        pc.max_element_wise(source["offset"], target["offset"]),
        pc.if_else(newer, _kept_offset(source, target), columns["offset"]),
    )
    greatest = pc.max_element_wise(source["quarantined_position"], target["quarantined_position"])
    still_open = _true(pc.greater(target["quarantined_position"], source["position"]))
    columns["quarantined_position"] = pc.if_else(
        pc.or_(marker, pc.and_(newer, still_open)), greatest, columns["quarantined_position"]
    )
    merged = pa.table(columns).select(source.column_names)
    return merged.cast(target.schema), pc.or_(replace, marker)


def replaced(rows: pa.Table, changed: pa.Table, places: pa.Array) -> pa.Table:
    """Put changed rows in their places (null: new) and keep the order by entity_id."""
    both = pa.concat_tables([rows, changed.select(rows.column_names)]).combine_chunks()
    order = np.arange(rows.num_rows)
    known = places.is_valid().to_numpy(zero_copy_only=False)
    order[places.drop_null().to_numpy()] = rows.num_rows + np.flatnonzero(known)
    whole = both.take(pa.array(np.concatenate([order, rows.num_rows + np.flatnonzero(~known)])))
    return whole if known.all() else whole.sort_by("entity_id")


def _kept_available_at(source: pa.Table, target: pa.Table) -> pa.ChunkedArray:
    """A change that keeps the text keeps the time since when that text is served."""
    same_text = pc.fill_null(
        pc.equal(source["text_position"], target["text_position"]),
        False,
    )
    both_null = pc.and_(pc.is_null(source["text_position"]), pc.is_null(target["text_position"]))
    nothing = pa.scalar(None, source.schema.field("available_at").type)
    kept = pc.if_else(pc.or_(same_text, both_null), target["available_at"], nothing)
    return pc.coalesce(source["available_at"], kept)


def _kept_offset(source: pa.Table, target: pa.Table) -> pa.ChunkedArray:
    """Offsets of one topic and partition only move forward; those of two cannot be compared."""
    comparable = pc.and_(
        _true(pc.equal(source["topic"], target["topic"])), _true(pc.equal(source["partition"], target["partition"]))
    )
    return pc.if_else(comparable, pc.max_element_wise(source["offset"], target["offset"]), source["offset"])


def _true(mask: pa.ChunkedArray) -> pa.ChunkedArray:
    """SQL's unknown is not true."""
    return pc.fill_null(mask, False)
