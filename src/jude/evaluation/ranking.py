"""Ranking metrics by exact search: each query's relevant documents among all, one number a query.

A query without a relevant document has no number (nan) in any of them.
"""

# Q queries, C documents, R relevant ones of a query

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from jude.errors import TerminalTrainingError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def ranks_of(scores_QC: NDArray[np.float32], relevant: Sequence[Ints]) -> list[Ints]:
    """Give the ranks (from 1, ascending) of each query's relevant documents.

    Of equal scores the document of the lower row comes first, on every machine and with every sort.
    Raises TerminalTrainingError for a score that is not a number.
    """
    if np.isnan(scores_QC).any():
        raise TerminalTrainingError("A score is not a number: the model failed on a text of this set.")
    return [_ranks(scores_C, np.unique(rows)) for scores_C, rows in zip(scores_QC, relevant, strict=True)]


def _ranks(scores_C: NDArray[np.float32], rows_R: Ints) -> Ints:
    place_C = np.empty(len(scores_C), np.int64)
    place_C[np.argsort(-scores_C, kind="stable")] = np.arange(1, len(scores_C) + 1)
    return np.sort(place_C[rows_R])


def reciprocal_ranks(ranks: Sequence[Ints], k: int | None = None) -> Floats:
    """1 / rank of the first relevant document, 0 past k; the mean of it is MRR@k."""
    return np.asarray([_reciprocal(found[0], k) if len(found) else np.nan for found in ranks])


def _reciprocal(rank: int, k: int | None) -> float:
    return 1 / float(rank) if k is None or rank <= k else 0.0


def recall_at(ranks: Sequence[Ints], k: int) -> Floats:
    """Share of the relevant documents among the first k."""
    return np.asarray([float((found <= k).mean()) if len(found) else np.nan for found in ranks])


def average_precision(ranks: Sequence[Ints]) -> Floats:
    """Mean of the precision at each relevant document, over the whole ranking; the mean of it is MAP."""
    return np.asarray(
        [float((np.arange(1, len(found) + 1) / found).mean()) if len(found) else np.nan for found in ranks]
    )


def ndcg_at(ranks: Sequence[Ints], k: int) -> Floats:
    """nDCG@k of binary relevance: gains 1 / log2(rank + 1) over those of the best order."""
    ideal = np.cumsum(1 / np.log2(np.arange(2, k + 2)))
    return np.asarray(
        [
            float((1 / np.log2(found[found <= k] + 1)).sum() / ideal[min(k, len(found)) - 1]) if len(found) else np.nan
            for found in ranks
        ]
    )


def mean_ndcg(scores_QC: NDArray[np.float32], relevant: Sequence[Ints], k: int) -> float:
    """Average nDCG@k over the queries."""
    return float(np.nanmean(ndcg_at(ranks_of(scores_QC, relevant), k)))


def first_of(scores_QC: NDArray[np.float32], k: int) -> Ints:
    """Give the rows of each query's first k documents, best first: [Q, min(k, C)]."""
    return np.argsort(-scores_QC, axis=1, kind="stable")[:, :k]


def overlap(new_QK: Ints, old_QK: Ints) -> Floats:
    """Share of the first documents that two models have in common: how much readers will see change."""
    return np.asarray([len(np.intersect1d(a, b)) / len(a) for a, b in zip(new_QK, old_QK, strict=True)])
