import datetime

from google.protobuf import any_pb2 as _any_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Truncation(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRUNCATION_UNSPECIFIED: _ClassVar[Truncation]
    TRUNCATION_ERROR: _ClassVar[Truncation]
    TRUNCATION_END: _ClassVar[Truncation]

class Lane(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LANE_UNSPECIFIED: _ClassVar[Lane]
    LANE_ONLINE: _ClassVar[Lane]
    LANE_BULK: _ClassVar[Lane]

class DType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DTYPE_UNSPECIFIED: _ClassVar[DType]
    DTYPE_FLOAT32: _ClassVar[DType]
    DTYPE_BFLOAT16: _ClassVar[DType]
TRUNCATION_UNSPECIFIED: Truncation
TRUNCATION_ERROR: Truncation
TRUNCATION_END: Truncation
LANE_UNSPECIFIED: Lane
LANE_ONLINE: Lane
LANE_BULK: Lane
DTYPE_UNSPECIFIED: DType
DTYPE_FLOAT32: DType
DTYPE_BFLOAT16: DType

class EmbedOptions(_message.Message):
    __slots__ = ("model", "entity_type", "dimension", "truncation", "lane", "dtype")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ENTITY_TYPE_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    TRUNCATION_FIELD_NUMBER: _ClassVar[int]
    LANE_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    model: str
    entity_type: str
    dimension: int
    truncation: Truncation
    lane: Lane
    dtype: DType
    def __init__(self, model: _Optional[str] = ..., entity_type: _Optional[str] = ..., dimension: _Optional[int] = ..., truncation: _Optional[_Union[Truncation, str]] = ..., lane: _Optional[_Union[Lane, str]] = ..., dtype: _Optional[_Union[DType, str]] = ...) -> None: ...

class EmbedInput(_message.Message):
    __slots__ = ("text", "token_ids")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TOKEN_IDS_FIELD_NUMBER: _ClassVar[int]
    text: str
    token_ids: bytes
    def __init__(self, text: _Optional[str] = ..., token_ids: _Optional[bytes] = ...) -> None: ...

class EmbedRequest(_message.Message):
    __slots__ = ("input", "options")
    INPUT_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    input: EmbedInput
    options: EmbedOptions
    def __init__(self, input: _Optional[_Union[EmbedInput, _Mapping]] = ..., options: _Optional[_Union[EmbedOptions, _Mapping]] = ...) -> None: ...

class EmbedResponse(_message.Message):
    __slots__ = ("model_version", "input_hash", "tokens", "truncated", "dtype", "dimension", "vector")
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    INPUT_HASH_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    model_version: str
    input_hash: str
    tokens: int
    truncated: bool
    dtype: DType
    dimension: int
    vector: bytes
    def __init__(self, model_version: _Optional[str] = ..., input_hash: _Optional[str] = ..., tokens: _Optional[int] = ..., truncated: _Optional[bool] = ..., dtype: _Optional[_Union[DType, str]] = ..., dimension: _Optional[int] = ..., vector: _Optional[bytes] = ...) -> None: ...

class EmbedBatchRequest(_message.Message):
    __slots__ = ("id", "inputs", "options")
    ID_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    id: int
    inputs: _containers.RepeatedCompositeFieldContainer[EmbedInput]
    options: EmbedOptions
    def __init__(self, id: _Optional[int] = ..., inputs: _Optional[_Iterable[_Union[EmbedInput, _Mapping]]] = ..., options: _Optional[_Union[EmbedOptions, _Mapping]] = ...) -> None: ...

class EmbedBatchResponse(_message.Message):
    __slots__ = ("id", "model_version", "dtype", "dimension", "vectors", "items", "error")
    ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    id: int
    model_version: str
    dtype: DType
    dimension: int
    vectors: bytes
    items: _containers.RepeatedCompositeFieldContainer[ItemResult]
    error: Error
    def __init__(self, id: _Optional[int] = ..., model_version: _Optional[str] = ..., dtype: _Optional[_Union[DType, str]] = ..., dimension: _Optional[int] = ..., vectors: _Optional[bytes] = ..., items: _Optional[_Iterable[_Union[ItemResult, _Mapping]]] = ..., error: _Optional[_Union[Error, _Mapping]] = ...) -> None: ...

class ItemResult(_message.Message):
    __slots__ = ("input_hash", "tokens", "truncated", "error")
    INPUT_HASH_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    input_hash: str
    tokens: int
    truncated: bool
    error: Error
    def __init__(self, input_hash: _Optional[str] = ..., tokens: _Optional[int] = ..., truncated: _Optional[bool] = ..., error: _Optional[_Union[Error, _Mapping]] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("code", "message", "retry_after_seconds")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_SECONDS_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    retry_after_seconds: float
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., retry_after_seconds: _Optional[float] = ...) -> None: ...

class GetModelInfoRequest(_message.Message):
    __slots__ = ("model", "include_tokenizer")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_TOKENIZER_FIELD_NUMBER: _ClassVar[int]
    model: str
    include_tokenizer: bool
    def __init__(self, model: _Optional[str] = ..., include_tokenizer: _Optional[bool] = ...) -> None: ...

class GetModelInfoResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelInfo]
    def __init__(self, models: _Optional[_Iterable[_Union[ModelInfo, _Mapping]]] = ...) -> None: ...

class ModelInfo(_message.Message):
    __slots__ = ("model_version", "name", "aliases", "width", "dimensions", "max_tokens", "entity_types", "manifest", "pass_tokens", "tokens_per_second", "tokenizer")
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    ENTITY_TYPES_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    PASS_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    TOKENIZER_FIELD_NUMBER: _ClassVar[int]
    model_version: str
    name: str
    aliases: _containers.RepeatedScalarFieldContainer[str]
    width: int
    dimensions: _containers.RepeatedScalarFieldContainer[int]
    max_tokens: int
    entity_types: _containers.RepeatedScalarFieldContainer[str]
    manifest: str
    pass_tokens: int
    tokens_per_second: float
    tokenizer: bytes
    def __init__(self, model_version: _Optional[str] = ..., name: _Optional[str] = ..., aliases: _Optional[_Iterable[str]] = ..., width: _Optional[int] = ..., dimensions: _Optional[_Iterable[int]] = ..., max_tokens: _Optional[int] = ..., entity_types: _Optional[_Iterable[str]] = ..., manifest: _Optional[str] = ..., pass_tokens: _Optional[int] = ..., tokens_per_second: _Optional[float] = ..., tokenizer: _Optional[bytes] = ...) -> None: ...

class RpcStatus(_message.Message):
    __slots__ = ("code", "message", "details")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    details: _containers.RepeatedCompositeFieldContainer[_any_pb2.Any]
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., details: _Optional[_Iterable[_Union[_any_pb2.Any, _Mapping]]] = ...) -> None: ...

class RetryInfo(_message.Message):
    __slots__ = ("retry_delay",)
    RETRY_DELAY_FIELD_NUMBER: _ClassVar[int]
    retry_delay: _duration_pb2.Duration
    def __init__(self, retry_delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...
