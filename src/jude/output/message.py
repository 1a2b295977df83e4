"""A change of an embedding as a Kafka record, and back."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, NamedTuple

import orjson

Format = Literal["protobuf", "json"]

POSITION: Final = "jude.position"
MODEL_VERSION: Final = "jude.model_version"
CONTENT_TYPE: Final = "content-type"
_TYPES: Final[dict[Format, bytes]] = {
    "protobuf": b"application/x-protobuf;type=jude.embeddings.v1.EmbeddingChange",
    "json": b"application/json",
}
_CLOCKS: Final = ("source_ts", "ingested_at", "embedded_at", "available_at")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class EmbeddingChange:
    """From `position` on this entity has this vector; without one it is deleted."""

    entity_type: str
    entity_id: str
    model_version: str
    position: str
    vector: bytes | None = None  # little-endian, see dtype
    dtype: str = "float32"
    dim: int = 0
    text_hash: str | None = None
    input_hash: str | None = None
    origin: str = "stream"
    source_ts: datetime | None = None
    ingested_at: datetime | None = None
    embedded_at: datetime | None = None
    available_at: datetime | None = None


class Record(NamedTuple):
    """A Kafka record."""

    key: bytes
    value: bytes | None
    headers: list[tuple[str, bytes]]


def write_record(change: EmbeddingChange, form: Format) -> Record:
    """Write a change; a delete has no value, so that compaction can forget the key."""
    headers = [(POSITION, change.position.encode()), (MODEL_VERSION, change.model_version.encode())]
    key = f"{change.entity_type}/{change.entity_id}".encode()
    if change.vector is None:
        return Record(key, None, headers)
    value = _to_protobuf(change) if form == "protobuf" else _to_json(change)
    return Record(key, value, [*headers, (CONTENT_TYPE, _TYPES[form])])


def read_record(key: bytes, value: bytes | None, headers: Iterable[tuple[str, bytes]]) -> EmbeddingChange:
    """Read a record of either format. Raises ValueError for one that is not of this topic."""
    found = dict(headers)
    try:
        entity_type, entity_id = key.decode().split("/", 1)
        position, model_version = found[POSITION].decode(), found[MODEL_VERSION].decode()
    except (KeyError, ValueError) as error:
        raise ValueError(f"the record with key {key!r} is no embedding change: {error!r}") from error
    if value is None:
        return EmbeddingChange(entity_type, entity_id, model_version, position)
    return _from_json(value) if found.get(CONTENT_TYPE) == _TYPES["json"] else _from_protobuf(value)


def _to_protobuf(change: EmbeddingChange) -> bytes:
    from jude.output.embedding_change_pb2 import EmbeddingChange as Message

    values: dict[str, Any] = {name: value for name, value in asdict(change).items() if value is not None}
    values |= {f"{name}_us": _microseconds(values.pop(name)) for name in _CLOCKS if name in values}
    return Message(**values).SerializeToString()


def _from_protobuf(value: bytes) -> EmbeddingChange:
    from google.protobuf.message import DecodeError

    from jude.output.embedding_change_pb2 import EmbeddingChange as Message

    try:
        message = Message.FromString(value)
    except DecodeError as error:
        raise ValueError(f"the value is no jude.embeddings.v1.EmbeddingChange: {error}") from error
    names = [f.name for f in fields(EmbeddingChange) if f.name not in _CLOCKS]
    values: dict[str, Any] = {name: getattr(message, name) for name in names}
    values |= {name: values[name] or None for name in ("text_hash", "input_hash")}
    for name in _CLOCKS:
        if message.HasField(f"{name}_us"):
            values[name] = _moment(getattr(message, f"{name}_us"))
    return EmbeddingChange(**values)


def _to_json(change: EmbeddingChange) -> bytes:
    assert change.vector is not None, "a delete has no value"
    return orjson.dumps(asdict(change) | {"vector": b64encode(change.vector).decode()})


def _from_json(value: bytes) -> EmbeddingChange:
    values: dict[str, Any] = orjson.loads(value)
    clocks = {name: datetime.fromisoformat(values[name]) for name in _CLOCKS if values[name] is not None}
    return EmbeddingChange(**values | clocks | {"vector": b64decode(values["vector"])})


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)
