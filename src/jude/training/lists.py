"""Stored candidate lists: each query beside its match, the model's hardest mistakes, and documents drawn at random.

What a cross-encoder is trained on and scores, and a student learns from (`loss.kd`, `loss.margin`).
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jude.training.data.negatives import POSITIVE, Known, false_negatives
from jude.training.data.pairs import PAIRS, checked
from jude.training.data.tokenised import TokenisedPairs
from jude.training.mining import Mined

Ints = NDArray[np.int64]


def candidate_lists(data: TokenisedPairs, mined: Mined, drawn: int, seed: int = 0) -> pa.Table:
    """Give a list a query: its first match with label 1, mined and drawn negatives with label 0.

    A negative is no known match of the query and of no group of it, like those that are mined.
    Columns out: those of PAIRS, further ones of one side (query_..., document_...), list (the number of the query).
    What is of a pair (teacher_score, seniority_gap, ...) is left out: a negative is another pair.
    """
    random, known = np.random.default_rng(seed), Known(data)
    documents, place = np.unique(data.document, return_index=True)  # a pair that holds the document
    rows = np.flatnonzero(data.label >= POSITIVE)
    rows = rows[np.unique(data.query[rows], return_index=True)[1]]
    taken = []
    for row in rows:
        some = random.choice(documents, min(drawn, len(documents)), replace=False)
        pool = np.concatenate([mined.of(data.query[row : row + 1]), some])
        pool = np.unique(pool[np.isin(pool, documents)])
        at = place[np.searchsorted(documents, pool)]
        query, group = data.query[row : row + 1], data.query_group[row : row + 1]
        no = false_negatives(known, query, group, data.document[row : row + 1], pool)[0]
        taken.append(at[~no])
    return _as_pairs(data, rows, taken)


def _as_pairs(data: TokenisedPairs, rows: Ints, negatives: list[Ints]) -> pa.Table:
    sizes = [1 + len(found) for found in negatives]
    of_query = pa.array(np.repeat(rows, sizes))
    of_document = pa.array(np.concatenate([np.r_[row, found] for row, found in zip(rows, negatives, strict=True)]))
    label = np.concatenate([np.r_[1.0, np.zeros(size - 1)] for size in sizes])
    pairs = data.pairs
    names = [name for name in pairs.column_names if name in PAIRS.names or name.startswith(("query_", "document_"))]
    rows_of = {name: of_document if name.startswith("document_") else of_query for name in names}
    columns = {name: pairs[name].take(at) for name, at in rows_of.items()}
    columns |= {"label": pa.array(label, pa.float32()), "list": pa.array(np.repeat(np.arange(len(rows)), sizes))}
    return checked(pa.table(columns), "the candidate lists")
