"""A request as the caller wrote it becomes model inputs, or a reason per item why not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jude.encoder import ModelInput
from jude.serving.lanes import Lane
from jude.serving.models import LoadedModel, Shelf
from jude.serving.refusal import RefusedError, invalid
from jude.serving.v1 import embedding_pb2 as pb

DTYPES = {pb.DTYPE_UNSPECIFIED: "float32", pb.DTYPE_FLOAT32: "float32", pb.DTYPE_BFLOAT16: "bfloat16"}

Prepared = list[ModelInput | RefusedError]
"""One entry per item of the request."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of a request, resolved and checked."""

    model: LoadedModel
    entity_type: str
    dimension: int
    dtype: str
    lane: Lane
    cuts: bool  # a text that is too long loses its end; else it is refused


def read_options(options: pb.EmbedOptions, shelf: Shelf, default_lane: Lane) -> Asked:
    """Resolve the options of a request. Raises RefusedError: INVALID_ARGUMENT, FAILED_PRECONDITION."""
    model = shelf.find(options.model)
    dimension = options.dimension or model.width
    if dimension not in model.dimensions:
        offered = ", ".join(map(str, model.dimensions))
        raise invalid(f"Dimension {dimension} is not offered by {model.model_version}; it offers {offered}.")
    if options.dtype not in DTYPES or options.lane not in (0, *Lane) or options.truncation not in (0, 1, 2):
        raise invalid("An enum value of the options is unknown: dtype, lane or truncation.")
    known = model.spec.prompts
    if options.entity_type and known and options.entity_type not in known:
        raise invalid(f"The entity type is unknown to {model.model_version}; it knows {', '.join(sorted(known))}.")
    return Asked(
        model=model,
        entity_type=options.entity_type,
        dimension=dimension,
        dtype=DTYPES[options.dtype],
        lane=Lane(options.lane) if options.lane else default_lane,
        cuts=options.truncation != pb.TRUNCATION_ERROR,
    )


def prepare(asked: Asked, inputs: Sequence[pb.EmbedInput], max_text_bytes: int) -> Prepared:
    """Tokenise the texts and check the token ids; what cannot be read gets its reason. Takes CPU: not for the loop."""
    found: Prepared = []
    texts: dict[int, str] = {}
    for row, item in enumerate(inputs):
        kind = item.WhichOneof("content")
        try:
            if kind == "text":
                texts[row] = _checked_text(asked, item.text, max_text_bytes)
                found.append(_PENDING)
            else:
                found.append(_read_ids(asked, item.token_ids if kind else b""))
        except RefusedError as refused:
            found.append(refused)
    for row, made in zip(texts, _tokenised(asked, list(texts.values())), strict=True):
        found[row] = made
    return found


_PENDING = invalid("The text was not tokenised.")


def _checked_text(asked: Asked, text: str, max_text_bytes: int) -> str:
    if not text.strip():
        raise invalid("The text is empty, or only white space.", "empty_text")
    # A character has at most four bytes: most texts need no encoding to be judged.
    if len(text) * 4 > max_text_bytes and len(text.encode()) > max_text_bytes:
        raise invalid(f"The text has more than {max_text_bytes} bytes.", "text_too_large")
    if not asked.entity_type and asked.model.spec.prompts:
        known = ", ".join(sorted(asked.model.spec.prompts))
        raise invalid(f"A text needs its entity type, for its prompt. Name one: {known}.")
    return text


def _tokenised(asked: Asked, texts: list[str]) -> Prepared:
    made: Prepared = list(asked.model.prompted(asked.entity_type, texts)) if texts else []
    return [_checked_length(asked, item) for item in made if isinstance(item, ModelInput)]


def _checked_length(asked: Asked, item: ModelInput) -> ModelInput | RefusedError:
    if not item.token_ids:
        return invalid("The text has no token that this model knows.", "empty_text")
    if item.truncated and not asked.cuts:
        longest = asked.model.manifest.max_tokens
        return invalid(f"The text is longer than the {longest} tokens that this model reads.", "too_long")
    return item


def _read_ids(asked: Asked, data: bytes) -> ModelInput:
    longest = asked.model.manifest.max_tokens
    if not data or len(data) % 4:
        raise invalid("Send a text, or token ids as little-endian int32.")
    if len(data) // 4 > longest:
        raise invalid(f"{len(data) // 4} token ids are more than the {longest} that this model reads.", "too_long")
    ids = tuple(np.frombuffer(data, "<i4").tolist())
    if min(ids) < 0:
        raise invalid("A token id is negative.")
    return ModelInput(asked.model.hasher(asked.entity_type).hash(ids), ids, truncated=False)
