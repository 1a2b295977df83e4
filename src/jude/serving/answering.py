"""Vectors and reasons become the messages of the protocol."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jude.encoder.packing import as_bytes
from jude.serving.asking import Asked, Prepared
from jude.serving.models import LoadedModel
from jude.serving.refusal import Code, RefusedError
from jude.serving.v1 import embedding_pb2 as pb

_DTYPES = {"float32": pb.DTYPE_FLOAT32, "bfloat16": pb.DTYPE_BFLOAT16}


def batch_response(
    request_id: int, asked: Asked, prepared: Prepared, vectors_BD: NDArray[np.float32]
) -> pb.EmbedBatchResponse:
    """Answer a list: the vectors end to end as one field, a status per item."""
    response = pb.EmbedBatchResponse(
        id=request_id,
        model_version=asked.model.model_version,
        dtype=_DTYPES[asked.dtype],
        dimension=asked.dimension,
    )
    finite_B = finite_rows(vectors_BD)
    for item, finite in zip(prepared, finite_B.tolist(), strict=True):
        if isinstance(item, RefusedError):
            response.items.add(error=error_message(item))
            continue
        error = None if finite else error_message(not_finite())
        response.items.add(
            input_hash=item.input_hash, tokens=len(item.token_ids), truncated=item.truncated, error=error
        )
    response.vectors = as_bytes(_cut(np.where(finite_B[:, None], vectors_BD, 0.0), asked), asked.dtype)
    return response


def single_response(asked: Asked, prepared: Prepared, vectors_1D: NDArray[np.float32]) -> pb.EmbedResponse:
    """Answer one input. Raises RefusedError when it has no vector."""
    (item,) = prepared
    if isinstance(item, RefusedError):
        raise item
    if not np.isfinite(vectors_1D).all():
        raise not_finite()
    return pb.EmbedResponse(
        model_version=asked.model.model_version,
        input_hash=item.input_hash,
        tokens=len(item.token_ids),
        truncated=item.truncated,
        dtype=_DTYPES[asked.dtype],
        dimension=asked.dimension,
        vector=as_bytes(_cut(vectors_1D, asked), asked.dtype),
    )


def finite_rows(vectors_BD: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Tell which rows are vectors."""
    finite_BD: NDArray[np.bool_] = np.isfinite(vectors_BD)
    return np.asarray(finite_BD.all(axis=1))


def error_message(refused: RefusedError) -> pb.Error:
    """Write a reason as part of an answer."""
    return pb.Error(code=refused.code, message=str(refused), retry_after_seconds=refused.retry_after_seconds or 0.0)


def not_finite() -> RefusedError:
    """What an item gets for which the model has no numbers."""
    return RefusedError(
        Code.INTERNAL,
        "The model has no vector for this input: a token id that it does not know, or numbers that are not finite.",
        reason="not_finite",
    )


def model_info(model: LoadedModel, aliases: list[str], *, include_tokenizer: bool) -> pb.ModelInfo:
    """Describe a served model version."""
    return pb.ModelInfo(
        model_version=model.model_version,
        name=model.model_version.rpartition("-")[0],
        aliases=aliases,
        width=model.width,
        dimensions=model.dimensions,
        max_tokens=model.manifest.max_tokens,
        entity_types=sorted(model.spec.prompts),
        manifest=model.manifest.as_json(),
        pass_tokens=model.pass_tokens,
        tokens_per_second=model.tokens_per_second,
        tokenizer=model.tokeniser_file() if include_tokenizer else b"",
    )


def _cut(vectors_BD: NDArray[np.float32], asked: Asked) -> NDArray[np.float32]:
    """Keep the first numbers and normalise again, if fewer are asked for than there are."""
    if asked.dimension == vectors_BD.shape[1]:
        return vectors_BD
    short_BE = vectors_BD[:, : asked.dimension]
    norms_B1 = np.linalg.norm(short_BE, axis=1, keepdims=True)
    cut_BE: NDArray[np.float32] = (short_BE / np.maximum(norms_B1, 1e-12)).astype(np.float32, copy=False)
    return cut_BE
