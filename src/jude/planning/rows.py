"""The Arrow schemas that pass between the rooms: records -> changes + known state -> planned rows.

Times are UTC in microseconds. A `position` is the fixed-width string of `jude.changes.position`: it sorts as the
tuple (source_epoch, lsn, streamed, tx_order, offset) does.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from jude.changes.records import RECORDS, UTC

FIELDS: Final = pa.map_(pa.string(), pa.string())

CHANGES: Final = pa.schema(
    [
        ("record", pa.int32()),  # row number in the batch's RECORDS
        ("topic", pa.string()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("timestamp", UTC),
        ("entity_type", pa.string()),  # null: could not be told
        ("entity_id", pa.string()),  # null: could not be told
        ("old_entity_id", pa.string()),  # the key before a key change
        ("op", pa.string()),  # c, u, r, d, tombstone
        ("position", pa.string()),  # null for a tombstone: the fold gives it one
        ("source_ts", UTC),
        ("fields", FIELDS),  # raw text columns; without those in `unavailable`; null for d and tombstone
        ("unavailable", pa.list_(pa.string())),  # text columns that hold Debezium's placeholder
        ("error_class", pa.string()),  # not null: this record goes to quarantine
        ("error", pa.string()),
    ]
)
"""A decoded change event. A row with an `error_class` goes to quarantine as it is."""

KNOWN: Final = pa.schema(
    [
        ("entity_type", pa.string()),
        ("entity_id", pa.string()),
        ("status", pa.string()),  # live, deleted
        ("position", pa.string()),
        ("text_position", pa.string()),  # position of the text_history row that holds the remembered text
        ("columns_hash", pa.string()),
        ("text_hash", pa.string()),
        ("input_hash", pa.string()),
        ("topic", pa.string()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("quarantined_position", pa.string()),
        ("fields", FIELDS),  # loaded only for keys whose placeholders need it, else null
    ]
)
"""What `embedding_current` knows of the batch's keys and old keys, for one model version."""

MOVE: Final = pa.struct(
    [
        ("status", pa.string()),
        ("position", pa.string()),
        ("text_position", pa.string()),
        ("columns_hash", pa.string()),
        ("text_hash", pa.string()),
        ("input_hash", pa.string()),  # the pointer before the batch; a `changed` row of the same key brings a new one
        ("topic", pa.string()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("source_ts", UTC),
        ("quarantined_position", pa.string()),
    ]
)
"""The new state of one key for embedding_current."""

PLANNED: Final = pa.schema(
    [
        *CHANGES,
        ("reason", pa.string()),  # quarantined, superseded, stale, unchanged, deleted, changed
        ("level", pa.string()),  # unchanged: columns or text; changed: input when the pointer stays the same
        ("writes_text", pa.bool_()),  # gives a row of text_history (a delete: with null text)
        ("columns_hash", pa.string()),
        ("text", pa.string()),
        ("text_hash", pa.string()),
        ("known_input_hash", pa.string()),  # the pointer that the key had before the batch
        ("move", MOVE),  # on one row of each key that moves, else null
        ("input_hash", pa.string()),
        ("token_ids", pa.list_(pa.int32())),
        ("n_tokens", pa.int32()),  # after truncation
        ("truncated", pa.bool_()),
    ]
)
"""One row per change event, each with its reason. Text columns are filled for rows that write text or are `changed`,
token columns for `changed` rows only (see planning.inputs)."""

__all__ = ["CHANGES", "FIELDS", "KNOWN", "MOVE", "PLANNED", "RECORDS", "UTC"]
