from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class EmbeddingChange(_message.Message):
    __slots__ = ("entity_type", "entity_id", "model_version", "position", "vector", "dtype", "dim", "text_hash", "input_hash", "origin", "source_ts_us", "ingested_at_us", "embedded_at_us", "available_at_us")
    ENTITY_TYPE_FIELD_NUMBER: _ClassVar[int]
    ENTITY_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    DIM_FIELD_NUMBER: _ClassVar[int]
    TEXT_HASH_FIELD_NUMBER: _ClassVar[int]
    INPUT_HASH_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    SOURCE_TS_US_FIELD_NUMBER: _ClassVar[int]
    INGESTED_AT_US_FIELD_NUMBER: _ClassVar[int]
    EMBEDDED_AT_US_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_AT_US_FIELD_NUMBER: _ClassVar[int]
    entity_type: str
    entity_id: str
    model_version: str
    position: str
    vector: bytes
    dtype: str
    dim: int
    text_hash: str
    input_hash: str
    origin: str
    source_ts_us: int
    ingested_at_us: int
    embedded_at_us: int
    available_at_us: int
    def __init__(self, entity_type: _Optional[str] = ..., entity_id: _Optional[str] = ..., model_version: _Optional[str] = ..., position: _Optional[str] = ..., vector: _Optional[bytes] = ..., dtype: _Optional[str] = ..., dim: _Optional[int] = ..., text_hash: _Optional[str] = ..., input_hash: _Optional[str] = ..., origin: _Optional[str] = ..., source_ts_us: _Optional[int] = ..., ingested_at_us: _Optional[int] = ..., embedded_at_us: _Optional[int] = ..., available_at_us: _Optional[int] = ...) -> None: ...
