"""Cut inputs of many lengths into batches that waste little on padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def token_batches(lengths: Sequence[int], batch_tokens: int) -> list[NDArray[np.int64]]:
    """Sort rows by length and cut them so that `rows x longest` stays within `batch_tokens`.

    Gives arrays of row numbers, shortest rows first; every row is in exactly one. A row longer than the budget is
    a batch of its own. Equal lengths keep their order, so the same lengths always give the same batches.
    """
    by_length = np.argsort(np.asarray(lengths, dtype=np.int64), kind="stable")
    batches = []
    start = 0
    for end, row in enumerate(by_length):
        # Ascending order: the row at hand is the longest of its batch.
        if end > start and (end - start + 1) * lengths[row] > batch_tokens:
            batches.append(by_length[start:end])
            start = end
    if start < len(by_length):
        batches.append(by_length[start:])
    return batches


def token_chunks(lengths: Sequence[int], chunk_tokens: int, most_rows: int) -> list[range]:
    """Cut rows, in order, into ranges of at most `chunk_tokens` tokens (and at least one row) and `most_rows` rows."""
    chunks = []
    start = tokens = 0
    for row, length in enumerate(lengths):
        if row > start and (tokens + length > chunk_tokens or row - start == most_rows):
            chunks.append(range(start, row))
            start, tokens = row, 0
        tokens += length
    return [*chunks, range(start, len(lengths))] if len(lengths) else []
