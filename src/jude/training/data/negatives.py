"""What must not be pushed away: candidates that are no negatives of a query."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jude.training.data.tokenised import TokenisedPairs

Ints = NDArray[np.int64]
POSITIVE = 0.5
"""Labels from here on are positives."""


class Known:
    """Every pair that the data calls a match, and the groups that each document is in, by numbers."""

    def __init__(self, data: TokenisedPairs) -> None:
        """Index the pairs of label 0.5 or more; a document may be in several groups."""
        self._inputs = len(data.lengths)
        positive, grouped = data.label >= POSITIVE, data.document_group >= 0
        self._matches = self._keys(data.query[positive], data.document[positive])
        self._members = self._keys(data.document_group[grouped], data.document[grouped])

    def matches(self, queries_Q: Ints, candidates_C: Ints) -> NDArray[np.bool_]:
        """Say which candidates are known matches of which queries: [Q, C]."""
        return self._held(self._matches, queries_Q, candidates_C)

    def members(self, groups_Q: Ints, candidates_C: Ints) -> NDArray[np.bool_]:
        """Say which candidates are in which groups: [Q, C]. Group -1 has none."""
        return self._held(self._members, groups_Q, candidates_C)

    def _keys(self, left: Ints, right: Ints) -> Ints:
        return np.unique(left * self._inputs + right)

    def _held(self, keys: Ints, left_Q: Ints, right_C: Ints) -> NDArray[np.bool_]:
        keys_QC = left_Q[:, None] * self._inputs + right_C[None, :]
        places = np.searchsorted(keys, keys_QC).clip(max=max(0, len(keys) - 1))
        return keys[places] == keys_QC if len(keys) else np.zeros(keys_QC.shape, bool)


def false_negatives(
    known: Known, queries_Q: Ints, query_groups_Q: Ints, positives_Q: Ints, candidates_C: Ints
) -> NDArray[np.bool_]:
    """Mask candidates of the query's group, of its own or its positive's text, and known positives: [Q, C]."""
    same_text = (queries_Q[:, None] == candidates_C[None, :]) | (positives_Q[:, None] == candidates_C[None, :])
    same_group = known.members(query_groups_Q, candidates_C)
    masked: NDArray[np.bool_] = same_group | same_text | known.matches(queries_Q, candidates_C)
    return masked
