"""The narrow door between the pipeline and whatever makes vectors. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ModelInput:
    """What the model really reads of one text: equal `input_hash`, equal vector."""

    input_hash: str  # 32 hex digits, over model version + prompt + token ids
    token_ids: tuple[int, ...]  # prompt and special tokens included, after truncation
    truncated: bool


class Tokeniser(Protocol):
    """Turns texts into model inputs; needs the `tokenizers` library at most, never torch."""

    @property
    def model_version(self) -> str: ...

    def inputs(self, entity_type: str, texts: Sequence[str]) -> list[ModelInput]:
        """Give one input per text, in order."""
        ...


class Encoder(Protocol):
    """Turns token ids into vectors. Pure: the same ids give the same vector, whatever else is in the call."""

    @property
    def model_version(self) -> str: ...

    @property
    def width(self) -> int: ...

    def encode(self, token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Encode inputs to a float32 array [len(token_ids), width], in order.

        Raises TransientEncoderError when nothing can be had; a NaN row marks an input that alone is bad.
        """
        ...
