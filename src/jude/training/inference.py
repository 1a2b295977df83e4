"""Vectors by a model in training: for mining, watching and evaluating. Unit norm, float32, in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from jude.encoder.batches import token_batches
from jude.training.towers import Towers

Vectors = NDArray[np.float32]
TokenIds = NDArray[np.int32]


@torch.no_grad()
def encode_ids(towers: Towers, token_ids: Sequence[TokenIds], chunk_tokens: int = 8192) -> Vectors:
    """Encode inputs to float32 [n, D]. Not under inference_mode: its tensors may not meet a later backward."""
    training = towers.training
    towers.eval()
    parts: list[tuple[NDArray[np.int64], Vectors]] = []
    for rows in token_batches([len(ids) for ids in token_ids], chunk_tokens):
        vectors = normalize(towers([token_ids[row] for row in rows]), dim=1)
        parts.append((rows, vectors.cpu().numpy()))
    towers.train(training)
    found = np.empty((len(token_ids), parts[0][1].shape[1]), np.float32)
    for rows, vectors_ND in parts:
        found[rows] = vectors_ND
    return found


def text_encoder(
    towers: Towers, inputs: Callable[[str, list[str]], list[TokenIds]]
) -> Callable[[str, Sequence[str]], Vectors]:
    """Give (entity_type, texts) -> vectors; equal texts are encoded once."""

    def encode(entity_type: str, texts: Sequence[str]) -> Vectors:
        distinct = list(dict.fromkeys(texts))
        place = {text: row for row, text in enumerate(distinct)}
        vectors = encode_ids(towers, inputs(entity_type, distinct))
        return vectors[[place[text] for text in texts]]

    return encode
