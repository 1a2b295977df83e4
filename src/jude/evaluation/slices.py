"""The queries that are hard for a reason: new, rare, late or long. Each slice is a mask over the queries of a set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import chain
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jude.evaluation.titles import Retrieval
from jude.training.data.negatives import POSITIVE

Bools = NDArray[np.bool_]

RARE: Final = 10
"""A document with fewer training texts than this is a cold start."""
LATE: Final = timedelta(days=90)
"""A text that was first seen so long after the last training pair is time-shifted."""
LONG: Final = 0.75
"""Long texts are the longest quarter."""


def slices_of(retrieval: Retrieval, pairs: pa.Table, trained: pa.Table | None) -> dict[str, Bools]:
    """Give the slices that the data can tell; without training pairs only the long texts. One that holds nothing, or
    everything, is left out.

    `pairs` are those that the collection was made of: their times are when a title was first seen.
    """
    length_Q = np.asarray([len(query) for query in retrieval.queries])
    found = {"long text": length_Q > np.quantile(length_Q, LONG)}
    if trained is not None:
        found |= {"new text": new_texts(retrieval, trained), "cold start": _cold(retrieval, trained)}
        if (late := _late(retrieval, pairs, trained)) is not None:
            found["time-shifted"] = late
    return {name: mask for name, mask in found.items() if mask.any() and not mask.all()}


def new_texts(retrieval: Retrieval, trained: pa.Table) -> Bools:
    """Tell which queries no training pair holds, on either side, in any spelling of capitals."""
    both = (trained[side].to_pylist() for side in ("query_text", "document_text"))
    known = {text.casefold().strip() for text in chain.from_iterable(both)}
    return np.asarray([query.casefold().strip() not in known for query in retrieval.queries])


def _cold(retrieval: Retrieval, trained: pa.Table) -> Bools:
    """None of what the query means was trained with many texts."""
    positive = trained.filter(pc.greater_equal(trained["label"], POSITIVE))
    texts = Counter(positive["document_text"].to_pylist())
    rare_C = np.asarray([texts[document] < RARE for document in retrieval.documents])
    return np.asarray([bool(rare_C[rows].all()) for rows in retrieval.relevant])


def _late(retrieval: Retrieval, pairs: pa.Table, trained: pa.Table) -> Bools | None:
    end, first = pc.max(trained["time"]).as_py(), _first_seen(pairs)
    if end is None or not first:
        return None
    return np.asarray([first.get(query, end) > end + LATE for query in retrieval.queries])


def _first_seen(pairs: pa.Table) -> Mapping[str, datetime]:
    known = pairs.filter(pc.is_valid(pairs["time"]))
    first = known.group_by("query_text").aggregate([("time", "min")])
    return dict(zip(first["query_text"].to_pylist(), first["time_min"].to_pylist(), strict=True))
