"""What must not be pushed away: candidates that are no negatives of a query."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jude.training.data.tokenised import TokenisedPairs

Ints = NDArray[np.int64]
POSITIVE = 0.5
"""Labels from here on are positives."""


class Known:
    """Every pair that the data calls a match, the groups that each document is in, and equal texts, by numbers."""

    def __init__(self, data: TokenisedPairs) -> None:
        """Index the pairs of label 0.5 or more; a document may be in several groups."""
        self._inputs = len(data.lengths)
        positive, grouped = data.label >= POSITIVE, data.document_group >= 0
        self._matches = self._keys(data.query[positive], data.document[positive])
        self._members = self._keys(data.document_group[grouped], data.document[grouped])
        self._text = _texts(data)

    def matches(self, queries_Q: Ints, candidates_C: Ints) -> NDArray[np.bool_]:
        """Say which candidates are known matches of which queries: [Q, C]."""
        return self._held(self._matches, queries_Q, candidates_C)

    def members(self, groups_Q: Ints, candidates_C: Ints) -> NDArray[np.bool_]:
        """Say which candidates are in which groups: [Q, C]. Group -1 has none."""
        return self._held(self._members, groups_Q, candidates_C)

    def same_text(self, left_Q: Ints, right_C: Ints) -> NDArray[np.bool_]:
        """Say which inputs are of one text, or of one sequence of tokens: [Q, C]."""
        tokens = left_Q[:, None] == right_C[None, :]
        same: NDArray[np.bool_] = tokens | (self._text[left_Q][:, None] == self._text[right_C][None, :])
        return same

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
    same_text = known.same_text(queries_Q, candidates_C) | known.same_text(positives_Q, candidates_C)
    same_group = known.members(query_groups_Q, candidates_C)
    masked: NDArray[np.bool_] = same_group | same_text | known.matches(queries_Q, candidates_C)
    return masked


def _texts(data: TokenisedPairs) -> Ints:
    """Number the text of each input: a text that two prompts introduce is two inputs."""
    sides = [data.pairs[f"{side}_text"] for side in ("query", "document")]
    encoded = pa.chunked_array([chunk for side in sides for chunk in side.chunks], pa.string()).dictionary_encode()
    texts = np.zeros(len(data.lengths), np.int64)
    texts[np.concatenate([data.query, data.document])] = np.concatenate([chunk.indices for chunk in encoded.chunks])
    return texts
