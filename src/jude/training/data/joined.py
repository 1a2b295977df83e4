"""For a cross-encoder each pair is one input: both texts, one after the other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from jude.training.data.tokenised import TokenisedPairs, numbered_inputs

Ids = NDArray[np.int32]


def joined(data: TokenisedPairs, max_tokens: int, begins: int | None) -> TokenisedPairs:
    """Make query and document of each pair the same input: what both sides of it are is read in one pass.

    The longer text is cut first, down to half of `max_tokens`; its end token stays. `begins` is the tokeniser's own
    first token (`bos_id`), which an input has once.
    """
    rows = zip(data.query.tolist(), data.document.tolist(), strict=True)
    joint = [_join(data.token_ids(query), data.token_ids(document), max_tokens, begins) for query, document in rows]
    ids, numbers = numbered_inputs(joint)
    lengths = np.diff(ids.offsets.to_numpy()).astype(np.int64)
    return replace(data, ids=ids, lengths=lengths, query=numbers, document=numbers)


def _join(query: Ids, document: Ids, max_tokens: int, begins: int | None) -> Ids:
    if document[0] == begins:
        document = document[1:]
    longest_query = max(max_tokens - len(document), max_tokens // 2)
    query = _cut(query, longest_query)
    return np.concatenate([query, _cut(document, max_tokens - len(query))])


def _cut(ids: Ids, most: int) -> Ids:
    return ids if len(ids) <= most else np.concatenate([ids[: most - 1], ids[-1:]])
