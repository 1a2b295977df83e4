"""Raw records -> change events. What cannot be read becomes a row with an error, never an exception."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple, TypeAlias

import orjson
import pyarrow as pa

from jude.changes.position import MAX_LSN, MAX_TX_ORDER, Position
from jude.changes.recorded import ERROR_CLASS_HEADER, ERROR_HEADER
from jude.entities import Entities, Entity
from jude.planning.rows import CHANGES

Json: TypeAlias = Any  # what a JSON parser gives: anything
PLACEHOLDER: Final = "__debezium_unavailable_value"
MAX_KEY_BYTES: Final = 2_048  # a PostgreSQL index entry is at most about 2,700 bytes
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST: Final = datetime(1990, 1, 1, tzinfo=UTC)  # a time before it is seconds read as milliseconds, or zero
_MAX_AHEAD: Final = timedelta(days=1)
_UPSERTS: Final = frozenset("cur")


class _BadRecordError(Exception):
    """Carries the error class and the sentence of a record that goes to quarantine."""

    def __init__(self, error_class: str, sentence: str) -> None:
        super().__init__(sentence)
        self.error_class = error_class


class Truncate(NamedTuple):
    """A TRUNCATE of an entity's table at a position."""

    record: int
    entity_type: str
    position: str


@dataclass(slots=True)
class Decoded:
    """The change events of a batch (CHANGES), and what was taken out before they were counted."""

    changes: pa.Table
    control: int = 0
    truncates: list[Truncate] = field(default_factory=list)


@dataclass(slots=True)
class _Change:
    """One row of CHANGES, without the record's own columns."""

    entity_type: str | None = None
    entity_id: str | None = None
    old_entity_id: str | None = None
    op: str | None = None
    position: str | None = None
    source_ts: datetime | None = None
    fields: dict[str, str | None] | None = None
    unavailable: list[str] | None = None
    error_class: str | None = None
    error: str | None = None


_RECORD_COLUMNS: Final = ("topic", "partition", "offset", "timestamp")
_CHANGE_COLUMNS: Final = tuple(_Change.__slots__)


def decode(records: pa.Table, entities: Entities, source_epoch: int, ingested_at: datetime) -> Decoded:
    """Read Debezium envelopes.

    Columns in: RECORDS. Columns out: CHANGES, one row per record that is not a control record or a truncate.
    `ingested_at` bounds believable commit times: a source_ts more than a day ahead of it is not believed.
    """
    decoded = Decoded(CHANGES.empty_table())
    rows: list[int] = []
    changes: list[_Change] = []
    for number, record in enumerate(_rows(records)):
        change = _decode_one(record, entities, source_epoch, ingested_at)
        if change.op == "m":
            decoded.control += 1
        elif change.op == "t" and change.error_class is None:
            assert change.entity_type is not None
            assert change.position is not None
            decoded.truncates.append(Truncate(number, change.entity_type, change.position))
        else:
            rows.append(number)
            changes.append(change)
    if rows:
        decoded.changes = _table(records, rows, changes)
    return decoded


class _Record(NamedTuple):
    topic: str | None
    offset: int
    timestamp: datetime | None
    key: bytes | None
    value: bytes | None
    headers: list[dict[str, Any]] | None


def _rows(records: pa.Table) -> Iterator[_Record]:
    columns: Iterable[list[Any]] = (records[name].to_pylist() for name in _Record._fields)
    return (_Record(*row) for row in zip(*columns, strict=True))


def _table(records: pa.Table, rows: list[int], changes: list[_Change]) -> pa.Table:
    taken = records.select(_RECORD_COLUMNS).take(pa.array(rows, pa.int32()))
    arrays = [pa.array(rows, pa.int32())]
    arrays += [taken[name].combine_chunks() for name in _RECORD_COLUMNS]
    arrays += [pa.array([getattr(c, name) for c in changes], CHANGES.field(name).type) for name in _CHANGE_COLUMNS]
    return pa.Table.from_arrays(arrays, schema=CHANGES)


def _decode_one(record: _Record, entities: Entities, source_epoch: int, ingested_at: datetime) -> _Change:
    """Fill as much of the change as can be read: an error row with a key and a position still blocks its key."""
    change = _Change()
    try:
        headers = {h["key"]: h["value"] for h in record.headers or ()}
        entity = entities.of_topic(record.topic or "")
        if entity is None:
            change.op = _op_of_stranger(record, headers)
            return change
        change.entity_type = entity.name
        envelope = _opened(record.value)
        if isinstance(envelope, dict) and envelope.get("op") in ("t", "m"):  # neither is a change of one key
            change.op = envelope["op"]
            change.position = _position(envelope, "t", source_epoch, record.offset) if change.op == "t" else None
            return change
        change.entity_id = _entity_id(record.key, entity)
        if record.value is None:
            change.op = "tombstone"
            return change
        if isinstance(envelope, _BadRecordError):
            raise envelope
        change.op = _op(envelope)
        change.position = _position(envelope, change.op, source_epoch, record.offset)
        change.old_entity_id = _old_entity_id(headers, entity)
        change.source_ts = _source_ts(envelope, record, entity, ingested_at)
        if change.op in _UPSERTS:
            _read_fields(change, envelope, entity)
    except _BadRecordError as error:
        change.error_class, change.error = error.error_class, str(error)
    return change


def _op_of_stranger(record: _Record, headers: Mapping[str, bytes | None]) -> str:
    """Tell control records from what no entity claims: heartbeats, transaction marks, logical messages are op m."""
    if ERROR_CLASS_HEADER in headers:
        error_class, error = (_text(headers.get(name)) for name in (ERROR_CLASS_HEADER, ERROR_HEADER))
        raise _BadRecordError(error_class, error)
    topic = record.topic or ""
    if topic.startswith("__debezium-heartbeat") or topic.endswith(".transaction"):
        return "m"
    envelope = _opened(record.value)
    if isinstance(envelope, dict) and envelope.get("op") == "m":
        return "m"
    raise _BadRecordError("unknown_topic", f"no entity is configured for topic {record.topic!r}")


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace")


def _opened(value: bytes | None) -> Json | _BadRecordError:
    """Parse a value; what cannot be parsed comes back as the error, so that the key is read all the same."""
    try:
        return None if value is None else _parse(value, "value")
    except _BadRecordError as error:
        return error


def _parse(raw: bytes, what: str) -> Json:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return _parse_leniently(raw, what)


def _parse_leniently(raw: bytes, what: str) -> Json:
    """orjson refuses lone surrogates and huge integers, which other producers do write."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _BadRecordError("invalid_utf8", f"the {what} is not UTF-8 at byte {error.start}") from None
    try:
        return _without_surrogates(json.loads(text))
    except (ValueError, RecursionError):
        raise _BadRecordError("not_json", f"the {what} is not JSON") from None


def _without_surrogates(value: Json) -> Json:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(k): _without_surrogates(v) for k, v in value.items()}
    return value


def _entity_id(key: bytes | None, entity: Entity) -> str:
    if key is None:
        raise _BadRecordError("no_key", "the record has no key: the source table needs a primary key")
    if len(key) > MAX_KEY_BYTES:
        raise _BadRecordError("key_too_large", f"the key has {len(key)} bytes, at most {MAX_KEY_BYTES} are kept")
    return _id_of(_parse(key, "key"), entity)


def _id_of(key: Json, entity: Entity) -> str:
    if not isinstance(key, dict) or entity.key not in key:
        hint = ": set key.converter.schemas.enable=false" if isinstance(key, dict) and "payload" in key else ""
        raise _BadRecordError("bad_key", f"the key is not a JSON object with the column {entity.key!r}{hint}")
    value = key[entity.key]
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise _BadRecordError("bad_key", f"the key column {entity.key!r} holds {type(value).__name__}, not text or int")
    return str(value)


def _old_entity_id(headers: Mapping[str, bytes | None], entity: Entity) -> str | None:
    old = headers.get("__debezium.oldkey")
    if old is None:
        return None
    parsed = _parse(old, "header __debezium.oldkey")
    if isinstance(parsed, dict) and isinstance(parsed.get("payload"), dict):  # headers may keep their schema
        parsed = parsed["payload"]
    return _id_of(parsed, entity)


def _op(envelope: Json) -> str:
    if not isinstance(envelope, dict) or "op" not in envelope:
        hint = ""
        if isinstance(envelope, dict):
            schema = "payload" in envelope
            hint = ": set value.converter.schemas.enable=false" if schema else ": no transform may unwrap it"
        raise _BadRecordError("not_an_envelope", f"the value is not a Debezium envelope{hint}")
    op = envelope["op"]
    if op not in ("c", "u", "r", "d", "t", "m"):
        raise _BadRecordError("unknown_op", "op is not one of c, u, r, d, t, m")
    return str(op)


def _position(envelope: Mapping[str, Any], op: str, source_epoch: int, offset: int) -> str:
    source = envelope.get("source")
    if not isinstance(source, dict):
        raise _BadRecordError("not_an_envelope", "the envelope has no source block")
    lsn = _whole(source.get("lsn"), MAX_LSN, "bad_lsn", "source.lsn")
    transaction = envelope.get("transaction")
    order = transaction.get("total_order") if isinstance(transaction, dict) else None
    tx_order = _whole(order, MAX_TX_ORDER, "bad_transaction", "transaction.total_order")
    streamed = 0 if op == "r" else 1
    if not lsn:  # the offset alone orders: total_order begins anew with every transaction
        return str(Position(source_epoch, 0, streamed, 0, offset))
    return str(Position(source_epoch, lsn, streamed, tx_order, 0))


def _whole(value: Json, most: int, error_class: str, what: str) -> int:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise _BadRecordError(error_class, f"{what} is not a whole number from 0 to {most}")
    return value


def _source_ts(envelope: Mapping[str, Any], record: _Record, entity: Entity, ingested_at: datetime) -> datetime | None:
    """The first believable one of the entity's own column, the commit time, the broker's time."""
    after = envelope.get("after")
    own = after.get(entity.updated_at) if entity.updated_at and isinstance(after, dict) else None
    for candidate in (_instant(own), _instant(envelope["source"].get("ts_ms")), record.timestamp):
        if candidate is not None and _EARLIEST <= candidate <= ingested_at + _MAX_AHEAD:
            return candidate
    return None


def _instant(value: Json) -> datetime | None:
    try:
        if isinstance(value, str):
            parsed = datetime.fromisoformat(value)
            return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
        if isinstance(value, int) and not isinstance(value, bool):
            return _EPOCH + timedelta(milliseconds=value)
    except (ValueError, OverflowError):
        pass
    return None


def _read_fields(change: _Change, envelope: Mapping[str, Any], entity: Entity) -> None:
    after = envelope.get("after")
    if not isinstance(after, dict):
        raise _BadRecordError("no_after", f"op {change.op} has no row in `after`")
    fields: dict[str, str | None] = {}
    unavailable: list[str] = []
    for text_field in entity.text_fields:
        name = text_field.name
        if name not in after:
            raise _BadRecordError("missing_field", f"the row has no column {name!r}, a text field of {entity.name}")
        value = after[name]
        if value in (PLACEHOLDER, [PLACEHOLDER]):  # a text[] column sends it as its only item
            unavailable.append(name)
        else:
            fields[name] = _raw_text(value, text_field.kind, name)
    size = sum(_utf8_bytes(value) for value in fields.values() if value)
    if size > entity.max_text_bytes:
        raise _BadRecordError("text_too_large", f"the text has {size} bytes, at most {entity.max_text_bytes} are read")
    change.fields, change.unavailable = fields, unavailable or None


def _utf8_bytes(value: str) -> int:
    return len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))


def _raw_text(value: Json, kind: str, name: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if kind == "list" and isinstance(value, list) and all(item is None or isinstance(item, str) for item in value):
        return orjson.dumps([item for item in value if item is not None]).decode()
    hint = ": its kind in the entity file would be list" if isinstance(value, list) and kind == "text" else ""
    raise _BadRecordError("wrong_field_type", f"column {name!r} holds {type(value).__name__}, not text{hint}")
