"""What a client gets: numpy vectors with their versions, hashes and reasons; and how its requests are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from jude.encoder.packing import from_bytes
from jude.serving.lanes import Lane
from jude.serving.refusal import Code, RefusedError
from jude.serving.v1 import embedding_pb2 as pb

DType = Literal["float32", "bfloat16"]
Content = str | Sequence[int] | NDArray[np.int32]
"""A text, or its token ids with prompt and special tokens."""

_DTYPES: dict[str, pb.DType] = {"float32": pb.DTYPE_FLOAT32, "bfloat16": pb.DTYPE_BFLOAT16}
_NAMES = {number: name for name, number in _DTYPES.items()}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What holds for every item of a request."""

    model: str = ""  # an exact model version or an alias; empty: current
    entity_type: str = ""
    dimension: int = 0  # 0: all numbers
    cut: bool = True  # False: a text that is too long is refused
    lane: Lane | None = None  # None: ONLINE for one input, BULK for a list
    dtype: DType = "float32"  # on the wire; what comes out is float32


@dataclass(frozen=True, slots=True)
class Embeddings:
    """The answer to a list."""

    model_version: str
    vectors: NDArray[np.float32]  # [items, dimension]; NaN in the row of an item that has none
    input_hashes: list[str]
    tokens: list[int]
    truncated: list[bool]
    errors: list[RefusedError | None]


def options_of(wanted: Wanted) -> pb.EmbedOptions:
    """Write the options of a request."""
    return pb.EmbedOptions(
        model=wanted.model,
        entity_type=wanted.entity_type,
        dimension=wanted.dimension,
        truncation=pb.TRUNCATION_END if wanted.cut else pb.TRUNCATION_ERROR,
        lane=pb.Lane.Name(wanted.lane) if wanted.lane else None,
        dtype=_DTYPES[wanted.dtype],
    )


def input_of(content: Content) -> pb.EmbedInput:
    """Write one input."""
    if isinstance(content, str):
        return pb.EmbedInput(text=content)
    return pb.EmbedInput(token_ids=np.asarray(content, "<i4").tobytes())


def read_answer(response: pb.EmbedBatchResponse) -> Embeddings | RefusedError:
    """Read one answer of a stream: a list that was refused as such costs the others nothing."""
    return _reported(response.error) if response.HasField("error") else read_batch(response)


def read_batch(response: pb.EmbedBatchResponse) -> Embeddings:
    """Read the answer to a list without a Python loop over numbers."""
    vectors = from_bytes(response.vectors, _NAMES[response.dtype], response.dimension)
    errors = [_reported(item.error) if item.HasField("error") else None for item in response.items]
    if failed := [row for row, error in enumerate(errors) if error]:
        vectors = vectors.copy()
        vectors[failed] = np.nan
    return Embeddings(
        model_version=response.model_version,
        vectors=vectors,
        input_hashes=[item.input_hash for item in response.items],
        tokens=[item.tokens for item in response.items],
        truncated=[item.truncated for item in response.items],
        errors=errors,
    )


def read_single(response: pb.EmbedResponse) -> Embeddings:
    """Read the answer to one input, as a list of one."""
    return Embeddings(
        model_version=response.model_version,
        vectors=from_bytes(response.vector, _NAMES[response.dtype], response.dimension),
        input_hashes=[response.input_hash],
        tokens=[response.tokens],
        truncated=[response.truncated],
        errors=[None],
    )


def _reported(error: pb.Error) -> RefusedError:
    code = Code(error.code) if error.code in set(Code) else Code.UNKNOWN
    after = error.retry_after_seconds or None
    return RefusedError(code, error.message, reason="reported", retry_after_seconds=after)
