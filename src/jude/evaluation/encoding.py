"""A model as evaluation sees it: texts in, vectors out, each text once. What is measured is what would serve."""

# N texts, D width

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from jude.encoder import EncoderSpec, open_encoder, open_tokeniser
from jude.errors import TerminalTrainingError

Vectors = NDArray[np.float32]
Encode = Callable[[str, Sequence[str]], Vectors]
"""(entity type, texts) -> vectors [N, D]; the entity type "" reads texts without a prompt."""

BARE = ""


def encode_by(spec: EncoderSpec) -> Encode:
    """Open the pipeline's own encoder. Vectors have unit norm, whatever the model leaves them with.

    Raises TerminalTrainingError for a text that the model cannot embed.
    """
    encoder = open_encoder(spec)
    tokenisers = {False: open_tokeniser(spec), True: open_tokeniser(replace(spec, prompts={}))}

    def encode(entity_type: str, texts: Sequence[str]) -> Vectors:
        inputs = tokenisers[entity_type == BARE].inputs(entity_type, list(texts))
        vectors_ND = encoder.encode([found.token_ids for found in inputs])
        return _unit(vectors_ND, texts)

    return each_once(encode)


def each_once(encode: Encode) -> Encode:
    """Remember what was encoded: sets repeat their texts, and share them."""
    known: dict[tuple[str, str], NDArray[np.float32]] = {}

    def remembering(entity_type: str, texts: Sequence[str]) -> Vectors:
        missing = [text for text in dict.fromkeys(texts) if (entity_type, text) not in known]
        if missing:
            found = encode(entity_type, missing)
            known.update({(entity_type, text): row for text, row in zip(missing, found, strict=True)})
        return np.stack([known[entity_type, text] for text in texts])

    return remembering


def _unit(vectors_ND: Vectors, texts: Sequence[str]) -> Vectors:
    norms_N = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    bad = np.flatnonzero(~np.isfinite(norms_N[:, 0]) | (norms_N[:, 0] == 0))
    if len(bad):
        raise TerminalTrainingError(
            f"The model made no vector of {len(bad)} of {len(texts)} texts; the first is {texts[bad[0]][:60]!r}."
        )
    unit: Vectors = vectors_ND / norms_N
    return unit
