"""Ranking metrics by exact search: each query's relevant documents among all, one number a query."""

# Q queries, C documents, R relevant ones of a query

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def ranks_of(scores_QC: NDArray[np.float32], relevant: Sequence[Ints]) -> list[Ints]:
    """Give the ranks (from 1, ascending) of each query's relevant documents.

    Of equal scores the lower row comes first, so that a constant score earns no rank by luck of the sort.
    """
    found = []
    for scores_C, rows in zip(scores_QC, relevant, strict=True):
        order = np.argsort(-scores_C, kind="stable")
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(1, len(order) + 1)
        found.append(np.sort(place[np.unique(rows)]))
    return found


def reciprocal_ranks(ranks: Sequence[Ints], k: int | None = None) -> Floats:
    """1 / rank of the first relevant document, 0 past k; the mean of it is MRR@k."""
    first = np.asarray([found[0] if len(found) else np.inf for found in ranks], float)
    return np.where(first <= (k or np.inf), 1 / first, 0.0)


def recall_at(ranks: Sequence[Ints], k: int) -> Floats:
    """Share of the relevant documents among the first k."""
    return np.asarray([float((found <= k).mean()) if len(found) else np.nan for found in ranks])


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
