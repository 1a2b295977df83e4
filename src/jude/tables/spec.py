"""The tables of JUDE, once: columns with their meaning, partitions, natural keys. `ensure` and the docs follow it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

from jude.planning.rows import FIELDS, UTC

SCHEMA_VERSION: Final = 3
CURRENT_HOURS: Final = 1
"""So long stay replaced files of embedding_current. Every batch replaces up to one per key: at four batches a second a
week of them would be ten million rows in each checkpoint of its log, and terabytes on disk."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: Arrow type, whether it may be null, and a sentence for people."""

    name: str
    type: pa.DataType
    comment: str
    nullable: bool = True


@dataclass(frozen=True, slots=True)
class TableSpec:
    """One Delta table."""

    name: str
    comment: str
    columns: tuple[Column, ...]
    natural_key: tuple[str, ...]
    partition_by: tuple[str, ...] = ()
    checks: dict[str, str] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)

    schema: pa.Schema = field(init=False, repr=False, compare=False)  # asked 300 times per batch: made once

    def __post_init__(self) -> None:
        made = pa.schema([pa.field(c.name, c.type, nullable=c.nullable) for c in self.columns])
        object.__setattr__(self, "schema", made)


_S, _I32, _I64, _BOOL, _F64 = pa.string(), pa.int32(), pa.int64(), pa.bool_(), pa.float64()
_KEY = (
    Column("entity_type", _S, "job, member, resume, or another configured entity", nullable=False),
    Column("entity_id", _S, "the entity's key in the source database", nullable=False),
)
_VERSION = Column("model_version", _S, "hash of weights, tokenizer, pooling, ...; immutable once used", nullable=False)
_POSITION = Column("position", _S, "order of the changes of one key; sorts as a string", nullable=False)
_WRITER = (
    Column("writer_query", _S, "stable id of the writer: streaming query, backfill job, replay", nullable=False),
    Column("writer_batch", _I64, "batch or slice of that writer", nullable=False),
)
_RAW = (
    Column("topic", _S, "Kafka topic of the record"),
    Column("partition", _I32, "Kafka partition"),
    Column("offset", _I64, "Kafka offset"),
)
_STATUS_CHECK = {"status_known": "status IN ('live', 'deleted')"}

CHANGE_LOG: Final = TableSpec(
    "change_log",
    "Raw records as they came, for a short while; off the hot path.",
    (
        *_RAW,
        Column("timestamp", UTC, "Kafka timestamp"),
        Column("key", pa.binary(), "key bytes"),
        Column("value", pa.binary(), "value bytes; null for a tombstone"),
        Column("headers", pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())])), "record headers"),
        Column("ingested_at", UTC, "when JUDE read it", nullable=False),
        *_WRITER,
    ),
    natural_key=("topic", "partition", "offset"),
)

TEXT_HISTORY: Final = TableSpec(
    "text_history",
    "One row per text an entity had, whatever the model; null text: it was deleted.",
    (
        *_KEY,
        _POSITION,
        Column("source_ts", UTC, "commit time in the source database"),
        Column("ingested_at", UTC, "when JUDE read the change", nullable=False),
        Column("op", _S, "Debezium op: c, u, r, d, or tombstone", nullable=False),
        Column("fields", FIELDS, "raw text columns, to restore placeholders and render again"),
        Column("columns_hash", _S, "one digest per text column, in the entity's order"),
        Column("text", _S, "the rendered, normalised text that models read (before the prompt)"),
        Column("text_hash", _S, "hash of text, prefixed by the render version"),
        *_WRITER,
    ),
    natural_key=("entity_type", "entity_id", "position"),
    partition_by=("entity_type",),
)

EMBEDDING_STORE: Final = TableSpec(
    "embedding_store",
    "One row per vector, shared by every entity with the same input; never updated.",
    (
        _VERSION,
        Column("input_hash", _S, "hash of model version + prompt + token ids after truncation", nullable=False),
        Column("vector", pa.binary(), "little-endian numbers, see dtype", nullable=False),
        Column("dtype", _S, "float32 or bfloat16", nullable=False),
        Column("dim", _I32, "numbers in the vector", nullable=False),
        Column("n_tokens", _I32, "tokens the model read", nullable=False),
        Column("truncated", _BOOL, "the text was longer than the model reads", nullable=False),
        Column("embedded_at", UTC, "when the vector was made", nullable=False),
        *_WRITER,
    ),
    natural_key=("model_version", "input_hash"),
    partition_by=("model_version",),
)

EMBEDDING_HISTORY: Final = TableSpec(
    "embedding_history",
    "One row per 'from here on this entity points at that vector'.",
    (
        *_KEY,
        _VERSION,
        _POSITION,
        Column("text_hash", _S, "the text embedded; null for a delete"),
        Column("input_hash", _S, "the vector in embedding_store; null for a delete"),
        Column("status", _S, "live or deleted", nullable=False),
        Column("origin", _S, "stream, backfill, repair or replay", nullable=False),
        Column("source_ts", UTC, "clock 1: commit in the source database"),
        Column("ingested_at", UTC, "clock 2: JUDE read the change", nullable=False),
        Column("embedded_at", UTC, "clock 3: the vector was made; null for a delete"),
        Column("available_at", UTC, "clock 4: the online store acknowledged it; null: never served"),
        *_WRITER,
    ),
    natural_key=("entity_type", "entity_id", "position", "model_version"),
    partition_by=("model_version",),
    checks=_STATUS_CHECK,
)

EMBEDDING_CURRENT: Final = TableSpec(
    "embedding_current",
    "The newest pointer of each entity and model version; the guard lives here.",
    (
        *_KEY,
        _VERSION,
        Column("bucket", _I32, "hash bucket of the key: a partition, so that a MERGE rewrites little", nullable=False),
        Column("status", _S, "live or deleted", nullable=False),
        _POSITION,
        Column("text_position", _S, "position of the text_history row that holds the remembered text"),
        Column("columns_hash", _S, "one digest per text column, remembered across a delete"),
        Column("text_hash", _S, "remembered across a delete"),
        Column("input_hash", _S, "the vector in embedding_store; null once deleted"),
        *_RAW,
        Column("source_ts", UTC, "commit time of the newest applied change"),
        Column("available_at", UTC, "when the pointer became readable online"),
        Column("quarantined_position", _S, "a newer change of this key lies in quarantine; null: none"),
    ),
    natural_key=("entity_type", "entity_id", "model_version"),
    partition_by=("entity_type", "model_version", "bucket"),
    checks=_STATUS_CHECK,
    properties={
        "delta.logRetentionDuration": "interval 1 days",
        "delta.deletedFileRetentionDuration": f"interval {CURRENT_HOURS} hours",
    },
)

MODEL_VERSIONS: Final = TableSpec(
    "model_versions",
    "Every model version, its state and the times it held an alias.",
    (
        _VERSION,
        Column("state", _S, "building, shadow, current, previous or retired", nullable=False),
        Column("alias", _S, "current, next or previous; null: none"),
        Column("width", _I32, "numbers in a vector", nullable=False),
        Column("dtype", _S, "float32 or bfloat16", nullable=False),
        Column("manifest", _S, "what the version hashes, as JSON", nullable=False),
        Column("valid_from", UTC, "from when this row holds", nullable=False),
    ),
    natural_key=("model_version", "valid_from"),
    checks={"state_known": "state IN ('building', 'shadow', 'current', 'previous', 'retired')"},
)

QUARANTINE: Final = TableSpec(
    "quarantine",
    "Records that could not be applied, with all that a replay needs; one row per attempt.",
    (
        Column("quarantine_id", _S, "topic:partition:offset: the record; attempts share it", nullable=False),
        Column("attempt", _S, "writer:query:batch of this attempt", nullable=False),
        Column("status", _S, "open; replayed or dismissed: this row closes the earlier ones", nullable=False),
        Column("error_class", _S, "why, as one word", nullable=False),
        Column("error", _S, "why (dismissed: the reason given), as a sentence without personal text", nullable=False),
        Column("entity_type", _S, "null: could not be told"),
        Column("entity_id", _S, "null: could not be told"),
        Column("position", _S, "the change's own position; null: none could be read"),
        *_RAW,
        Column("timestamp", UTC, "Kafka timestamp"),
        Column("key", pa.binary(), "key bytes"),
        Column("value", pa.binary(), "value bytes"),
        Column("headers", pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())])), "record headers"),
        Column("source_epoch", _I64, "the epoch under which it was read", nullable=False),
        Column("quarantined_at", UTC, "when", nullable=False),
    ),
    natural_key=("quarantine_id", "attempt"),
    checks={"status_known": "status IN ('open', 'replayed', 'dismissed')"},
)
QUARANTINED_RECORD: Final = ("quarantine_id", "source_epoch", "timestamp")
"""What tells one record from another: a topic that is made anew counts its offsets from the beginning."""

LEDGER: Final = TableSpec(
    "ledger",
    "One row per batch, model version and entity type: what came in and what became of it.",
    (
        *_WRITER,
        _VERSION,
        Column("entity_type", _S, "'' for records whose entity could not be told", nullable=False),
        Column("started_at", UTC, "when the batch began", nullable=False),
        Column("control", _I64, "heartbeats, transaction markers, op=m: dropped before events_in", nullable=False),
        Column("events_in", _I64, "= quarantined + superseded + stale + unchanged + deleted + changed", nullable=False),
        Column("quarantined", _I64, "", nullable=False),
        Column("superseded", _I64, "a newer change of the same key came in the same batch", nullable=False),
        Column("stale", _I64, "not newer than what is known", nullable=False),
        Column("unchanged", _I64, "= unchanged_columns + unchanged_text", nullable=False),
        Column("unchanged_columns", _I64, "no text column changed", nullable=False),
        Column("unchanged_text", _I64, "only cosmetic edits: the normalised text is equal", nullable=False),
        Column("deleted", _I64, "", nullable=False),
        Column("changed", _I64, "= duplicate_in_batch + already_stored + inferences", nullable=False),
        Column("duplicate_in_batch", _I64, "same input as another change of this batch", nullable=False),
        Column("already_stored", _I64, "the vector was already in the store", nullable=False),
        Column(
            "already_stored_input", _I64, "of these: the entity's own last input (edit past truncation)", nullable=False
        ),
        Column("inferences", _I64, "vectors made", nullable=False),
        Column("inferences_repeated", _I64, "vectors made again after a crash", nullable=False),
        Column("tokens", _I64, "tokens the model read", nullable=False),
        Column("truncated", _I64, "inputs cut at the model's length", nullable=False),
        Column("superseded_texts", _I64, "text changes kept in text_history but not embedded", nullable=False),
        Column("seconds", pa.map_(pa.string(), pa.float64()), "seconds per stage of the whole batch"),
        Column("freshness", pa.map_(pa.int32(), pa.int64()), "histogram of source_ts -> available_at, see observe"),
    ),
    natural_key=("writer_query", "writer_batch", "model_version", "entity_type"),
)

BACKFILL_JOBS: Final = TableSpec(
    "backfill_jobs",
    "Planned and finished slices of backfills.",
    (
        Column("job_id", _S, "", nullable=False),
        Column("slice", _I64, "", nullable=False),
        _VERSION,
        Column("state", _S, "planned, done or failed", nullable=False),
        Column("texts", _I64, "texts in the slice"),
        Column("tokens", _I64, "tokens in the slice"),
        Column("at", UTC, "", nullable=False),
    ),
    natural_key=("job_id", "slice", "state"),
)

ERASURES: Final = TableSpec(
    "erasures",
    "What stays of an erased entity: an HMAC of its key, so that it cannot come back.",
    (
        Column("key_hmac", _S, "HMAC of entity type and id", nullable=False),
        Column("position", _S, "nothing up to here may be applied again", nullable=False),
        Column("erased_at", UTC, "", nullable=False),
        Column("receipt", _S, "what was found and removed where, as JSON"),
    ),
    natural_key=("key_hmac", "position"),
)

LABELS_RELEVANCE: Final = TableSpec(
    "labels_relevance",
    "Graded pairs for training phase 1 and evaluation.",
    (
        Column("query_type", _S, "entity type of the query side", nullable=False),
        Column("query_id", _S, "", nullable=False),
        Column("document_type", _S, "", nullable=False),
        Column("document_id", _S, "", nullable=False),
        Column("label", _F64, "grade in [0, 1]", nullable=False),
        Column("label_ts", UTC, "when it was judged", nullable=False),
        Column("judge", _S, "who or what judged"),
    ),
    natural_key=("query_type", "query_id", "document_type", "document_id", "label_ts"),
)

LABELS_ENGAGEMENT: Final = TableSpec(
    "labels_engagement",
    "What members did with the postings they saw, for training phase 2.",
    (
        Column("member_id", _S, "", nullable=False),
        Column("job_id", _S, "", nullable=False),
        Column("action", _S, "impression, click, save, apply, dismiss", nullable=False),
        Column("label", _F64, "in [0, 1]", nullable=False),
        Column("rank", _I32, "position of the impression, from 1"),
        Column("label_ts", UTC, "when it happened", nullable=False),
    ),
    natural_key=("member_id", "job_id", "action", "label_ts"),
)

TABLES: Final[dict[str, TableSpec]] = {
    t.name: t
    for t in (
        CHANGE_LOG,
        TEXT_HISTORY,
        EMBEDDING_STORE,
        EMBEDDING_HISTORY,
        EMBEDDING_CURRENT,
        MODEL_VERSIONS,
        QUARANTINE,
        LEDGER,
        BACKFILL_JOBS,
        ERASURES,
        LABELS_RELEVANCE,
        LABELS_ENGAGEMENT,
    )
}

MERGE_GUARD: Final = """A row of the source replaces the target's row when
  source.position > target.position, or
  source.position = target.position and
    (source.offset > target.offset  -- a stale delete claims its tombstone's offset
     or coalesce(source.quarantined_position, '') > coalesce(target.quarantined_position, ''))"""
