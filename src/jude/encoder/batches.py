"""Cut inputs of many lengths into batches that waste little on padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_FEWEST_TOKENS = 64  # of a pass: a smaller one is not worth its calls


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


def even_batches(lengths: Sequence[int], batch_tokens: int, lanes: int) -> list[NDArray[np.int64]]:
    """Sort rows by length and cut them into parts of about equally many tokens, for texts that are not padded.

    Gives arrays of row numbers, shortest rows first; every row is in exactly one. There are as many as `batch_tokens`
    asks for, and a multiple of `lanes` so that none of them stands idle, as far as that is worth it.
    """
    by_length = np.argsort(np.asarray(lengths, dtype=np.int64), kind="stable")
    sorted_lengths = np.asarray(lengths, dtype=np.int64)[by_length]
    total = int(sorted_lengths.sum())
    wanted = -(-total // batch_tokens)
    parts = max(wanted, min(-(-wanted // lanes) * lanes, total // _FEWEST_TOKENS), 1)
    middles = sorted_lengths.cumsum() - sorted_lengths / 2  # a row belongs to the part that holds its middle
    cuts = np.searchsorted(middles, [total * part / parts for part in range(1, parts)])
    return [rows for rows in np.split(by_length, cuts) if len(rows)]


def padding_share(lengths: Sequence[int], batches: Sequence[NDArray[np.int64]]) -> float:
    """What part of the computed tokens is padding, where every row of a batch is as long as its longest."""
    computed = sum(len(batch) * max(lengths[row] for row in batch) for batch in batches)
    return 1 - sum(lengths) / computed if computed else 0.0


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
