"""How well a model finds what a title means: each query of labelled pairs against every document."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jude.evaluation.ranking import ndcg_at, ranks_of, recall_at, reciprocal_ranks

Encode = Callable[[str, Sequence[str]], NDArray[np.float32]]
"""(entity type, texts) -> unit vectors [n, D]."""
Metrics = dict[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Retrieval:
    """A test collection made of positive pairs."""

    queries: list[str]
    documents: list[str]
    relevant: list[NDArray[np.int64]]
    query_type: str
    document_type: str

    def metrics(self, encode: Encode) -> Metrics:
        """Give MRR@10, nDCG@10 and recall@100, one number a query, by exact search."""
        scores = encode(self.query_type, self.queries) @ encode(self.document_type, self.documents).T
        ranks = ranks_of(scores, self.relevant)
        return {
            "mrr_at_10": reciprocal_ranks(ranks, 10),
            "ndcg_at_10": ndcg_at(ranks, 10),
            "recall_at_100": recall_at(ranks, 100),
        }


def retrieval_of(pairs: pa.Table, documents: Sequence[str] = ()) -> Retrieval:
    """Make a collection of positive pairs of one type a side; `documents` are further ones to choose from."""
    positive = [row for row in pairs.to_pylist() if row["label"] >= 0.5]
    queries = sorted({row["query_text"] for row in positive})
    everything = sorted({row["document_text"] for row in positive} | set(documents))
    place = {text: number for number, text in enumerate(everything)}
    relevant: dict[str, set[int]] = {query: set() for query in queries}
    for row in positive:
        relevant[row["query_text"]].add(place[row["document_text"]])
    rows = [np.asarray(sorted(relevant[query]), np.int64) for query in queries]
    return Retrieval(queries, everything, rows, positive[0]["query_type"], positive[0]["document_type"])
