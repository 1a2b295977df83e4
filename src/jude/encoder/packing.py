"""Vectors as bytes, as they are stored and sent: little-endian, float32 or bfloat16."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def as_bytes(vectors: NDArray[np.float32], dtype: str) -> bytes:
    """Write vectors of any shape, row by row; bfloat16 is rounded to nearest even."""
    if dtype == "float32":
        return vectors.astype("<f4", copy=False).tobytes()
    bits = vectors.astype("<f4", copy=False).view("<u4")
    rounded: NDArray[np.uint16] = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
    return rounded.tobytes()


def from_bytes(data: bytes, dtype: str, width: int) -> NDArray[np.float32]:
    """Read float32 [rows, width]; float32 without a copy. Raises ValueError when the length does not fit."""
    if dtype == "float32":
        return np.frombuffer(data, "<f4").reshape(-1, width)
    upper = np.frombuffer(data, "<u2").astype("<u4") << np.uint32(16)
    return upper.view("<f4").reshape(-1, width)
