"""Hard negatives: the documents that the current model takes for matches, and that are none.

False negatives are left out: known positives, equal text, equal group, and what scores above the query's own positive
by more than a margin (an unlabelled positive, more likely than not).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jude.training.data.negatives import POSITIVE, Known, false_negatives
from jude.training.data.tokenised import TokenisedPairs
from jude.training.inference import encode_ids
from jude.training.towers import Towers

Ints = NDArray[np.int64]
_ROWS = 1024  # queries scored at once, where documents are few
_SCORES = 20_000_000  # at once; each takes 28 bytes while false negatives are looked up: 560 MB


@dataclass(frozen=True, slots=True)
class Mined:
    """Hard negatives by query."""

    queries: Ints  # [Q] numbers of inputs, ascending
    documents: Ints  # [Q, K] numbers of inputs, hardest first; -1: no more

    def of(self, queries: Ints) -> Ints:
        """Give the hard negatives of a batch's queries, each once."""
        places = np.searchsorted(self.queries, np.intersect1d(queries, self.queries))
        found: Ints = np.unique(self.documents[places])
        return found[found >= 0]

    def write(self, folder: Path) -> None:
        """Keep them with a checkpoint: the model that found them is gone by then."""
        np.savez(folder / "mined.npz", queries=self.queries, documents=self.documents)

    @classmethod
    def read(cls, folder: Path) -> Mined | None:
        """Read what `write` wrote; None where nothing was mined."""
        if not (folder / "mined.npz").exists():
            return None
        with np.load(folder / "mined.npz") as held:
            return cls(held["queries"], held["documents"])


def mine(towers: Towers, data: TokenisedPairs, per_query: int, margin: float, chunk_tokens: int) -> Mined:
    """Find `per_query` hard negatives for each query with a positive, by exact search."""
    rows = np.flatnonzero(data.label >= POSITIVE)
    queries, first = np.unique(data.query[rows], return_index=True)
    rows = rows[first]
    documents = np.unique(data.document)
    query_vectors = encode_ids(towers, [data.token_ids(int(n)) for n in queries], chunk_tokens)
    document_vectors = encode_ids(towers, [data.token_ids(int(n)) for n in documents], chunk_tokens)
    known, found = Known(data), []
    rows_at_once = max(1, min(_ROWS, _SCORES // len(documents)))
    for start in range(0, len(queries), rows_at_once):
        part = slice(start, start + rows_at_once)
        at = rows[part]
        scores = query_vectors[part] @ document_vectors.T
        own = scores[np.arange(len(at)), np.searchsorted(documents, data.document[at])]
        taken = false_negatives(known, queries[part], data.query_group[at], data.document[at], documents)
        scores[taken | (scores > own[:, None] + margin)] = -np.inf
        found.append(_hardest(scores, documents, per_query))
    return Mined(queries, np.concatenate(found))


def _hardest(scores: NDArray[np.float32], documents: Ints, per_query: int) -> Ints:
    count = min(per_query, scores.shape[1])
    best = np.argpartition(-scores, count - 1, axis=1)[:, :count]
    picked = np.take_along_axis(scores, best, axis=1)
    order = np.argsort(-picked, axis=1, kind="stable")
    numbers = np.where(np.isfinite(picked), documents[best], -1)
    hardest: Ints = np.take_along_axis(numbers, order, axis=1)
    return hardest
