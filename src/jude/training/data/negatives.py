"""What must not be pushed away: candidates that are no negatives of a query."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jude.training.data.tokenised import TokenisedPairs

Ints = NDArray[np.int64]
POSITIVE = 0.5
"""Labels from here on are positives."""


class KnownPositives:
    """Every pair that the data calls a match, by the numbers of its inputs."""

    def __init__(self, data: TokenisedPairs) -> None:
        """Index the pairs of label 0.5 or more."""
        self._inputs = len(data.lengths)
        positive = data.label >= POSITIVE
        self._keys = np.unique(data.query[positive] * self._inputs + data.document[positive])

    def among(self, queries_Q: Ints, candidates_C: Ints) -> NDArray[np.bool_]:
        """Say which candidates are known matches of which queries: [Q, C]."""
        keys_QC = queries_Q[:, None] * self._inputs + candidates_C[None, :]
        places = np.searchsorted(self._keys, keys_QC).clip(max=max(0, len(self._keys) - 1))
        return self._keys[places] == keys_QC if len(self._keys) else np.zeros(keys_QC.shape, bool)


def false_negatives(
    known: KnownPositives,
    queries_Q: Ints,
    query_groups_Q: Ints,
    positives_Q: Ints,
    candidates_C: Ints,
    candidate_groups_C: Ints,
) -> NDArray[np.bool_]:
    """Mask candidates of the query's group, of its own or its positive's text, and known positives: [Q, C]."""
    same_group = (query_groups_Q[:, None] == candidate_groups_C[None, :]) & (query_groups_Q[:, None] >= 0)
    same_text = (queries_Q[:, None] == candidates_C[None, :]) | (positives_Q[:, None] == candidates_C[None, :])
    masked: NDArray[np.bool_] = same_group | same_text | known.among(queries_Q, candidates_C)
    return masked
