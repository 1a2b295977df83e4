"""How well a model finds what a text means: each query against every document, by exact search."""

# Q queries, B of a block, C documents, U different ones, K the first of them

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jude.errors import TerminalTrainingError
from jude.evaluation.encoding import Encode
from jude.evaluation.ranking import (
    average_precision,
    first_of,
    ndcg_at,
    ranks_of,
    recall_at,
    reciprocal_ranks,
)
from jude.training.data.negatives import POSITIVE

Metrics = dict[str, NDArray[np.float64]]

_SIDES: Final = ("query", "document")
_SCORES_AT_ONCE: Final = 8_000_000  # of a block of queries: 32 MB


@dataclass(frozen=True, slots=True)
class Retrieval:
    """A test collection: documents may repeat, and each copy has its own rank."""

    queries: list[str]
    documents: list[str]
    relevant: list[NDArray[np.int64]]
    query_type: str
    document_type: str

    def metrics(self, encode: Encode, k: int = 10) -> Metrics:
        """Give MRR (over all, and @k), nDCG@k, recall@100 and average precision, one number a query."""
        ranks = [found for scores_BC, relevant in self._blocks(encode) for found in ranks_of(scores_BC, relevant)]
        return {
            "mrr": reciprocal_ranks(ranks),
            f"mrr_at_{k}": reciprocal_ranks(ranks, k),
            f"ndcg_at_{k}": ndcg_at(ranks, k),
            "recall_at_100": recall_at(ranks, 100),
            "map": average_precision(ranks),
        }

    def first(self, encode: Encode, k: int = 10) -> NDArray[np.int64]:
        """Give the rows of each query's first k documents: [Q, K]."""
        return np.concatenate([first_of(scores_BC, k) for scores_BC, _ in self._blocks(encode)])

    def _blocks(self, encode: Encode) -> Iterator[tuple[NDArray[np.float32], list[NDArray[np.int64]]]]:
        # Each text is scored once: a product rounds equal columns differently, and chance would order the copies.
        texts = {text: column for column, text in enumerate(dict.fromkeys(self.documents))}
        column_C = np.asarray([texts[text] for text in self.documents], np.int64)
        documents_UD = encode(self.document_type, list(texts))
        queries_QD = encode(self.query_type, self.queries)
        block = max(1, _SCORES_AT_ONCE // len(self.documents))
        for at in range(0, len(self.queries), block):
            scores_BU = queries_QD[at : at + block] @ documents_UD.T
            yield scores_BU[:, column_C], self.relevant[at : at + block]


def retrieval_of(pairs: pa.Table, documents: Sequence[str] = ()) -> Retrieval:
    """Make a collection of positive pairs of one type a side; `documents` are further ones to choose from.

    Raises TerminalTrainingError where there is no positive pair, or more than one type on a side.
    """
    positive = [row for row in pairs.to_pylist() if row["label"] >= POSITIVE]
    query_type, document_type = (_only({row[f"{side}_type"] for row in positive}, side) for side in _SIDES)
    queries = sorted({row["query_text"] for row in positive})
    everything = sorted({row["document_text"] for row in positive} | set(documents))
    place = {text: number for number, text in enumerate(everything)}
    relevant: dict[str, set[int]] = {query: set() for query in queries}
    for row in positive:
        relevant[row["query_text"]].add(place[row["document_text"]])
    rows = [np.asarray(sorted(relevant[query]), np.int64) for query in queries]
    return Retrieval(queries, everything, rows, query_type, document_type)


def _only(types: set[str], side: str) -> str:
    if len(types) != 1:
        found = ", ".join(sorted(types)) or "none: no pair has a label of 0.5 or more"
        raise TerminalTrainingError(
            f"A collection has one entity type of {side} texts; here are {found}. Give one file per pair of types."
        )
    return types.pop()
