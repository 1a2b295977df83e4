"""One global batch, equal on every rank: what is encoded, by whom, and how the vectors make up pairs."""

# U distinct inputs, B pairs, Q positive pairs, C candidates

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jude.encoder.batches import token_batches
from jude.errors import TerminalTrainingError
from jude.training.data.negatives import POSITIVE, Known, false_negatives
from jude.training.data.tokenised import TokenisedPairs

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Batch:
    """Every rank makes the same one from the same seed, so only vectors travel between ranks.

    Texts that repeat are one input and are encoded once. Places are rows of the batch's inputs, not of the data set.
    """

    rows: Ints  # [B] of the data set's pairs
    inputs: Ints  # [U] of the data set's inputs, shortest first
    lengths: Ints  # [U] tokens
    query: Ints  # [B] places
    document: Ints  # [B] places
    label: NDArray[np.float32]  # [B]
    positive: Ints  # [Q] which of the B pairs
    candidates: Ints  # [C] places
    own: Ints  # [Q] which candidate is the query's
    masked: NDArray[np.bool_]  # [Q, C] no negatives
    lists: Ints  # [L, K] which of the B pairs are one query's stored candidates, the positive first; -1: none

    def shares(self, ranks: int) -> list[Ints]:
        """Deal the inputs out by length, so that ranks have about equally many tokens: places of each rank."""
        if len(self.inputs) < ranks:
            raise TerminalTrainingError(
                f"A batch has {len(self.inputs)} texts for {ranks} ranks. Set batch.pairs higher, or take fewer ranks."
            )
        # There and back again: with 1 2 3 | 3 2 1 the first rank is not always given the shorter text.
        turns = np.resize(np.concatenate([np.arange(ranks), np.arange(ranks)[::-1]]), len(self.inputs))
        return [np.flatnonzero(turns == rank) for rank in range(ranks)]

    def chunks(self, places: Ints, chunk_tokens: int) -> list[Ints]:
        """Cut a rank's places into forward passes: rows of `places`."""
        return list(token_batches(self.lengths[places].tolist(), chunk_tokens))

    @property
    def real_tokens(self) -> int:
        """Tokens of both sides of all pairs, repeated texts counted each time: what throughput is measured in."""
        return int(self.lengths[self.query].sum() + self.lengths[self.document].sum())


class BatchMaker:
    """Makes batches of one data set."""

    def __init__(self, data: TokenisedPairs, *, mask_false_negatives: bool = True) -> None:
        """Index what must not be a negative."""
        self._data = data
        self._known = Known(data)
        self._mask = mask_false_negatives

    def batch(self, rows: Ints, hard_negatives: Ints | None = None) -> Batch:
        """Make the batch of some pairs; `hard_negatives` are further candidates, numbers of the data set's inputs."""
        data = self._data
        extra = np.empty(0, np.int64) if hard_negatives is None else hard_negatives
        inputs = np.unique(np.concatenate([data.query[rows], data.document[rows], extra]))
        inputs = inputs[np.argsort(data.lengths[inputs], kind="stable")]
        place_of = dict(zip(inputs.tolist(), range(len(inputs)), strict=True))
        positive = np.flatnonzero(data.label[rows] >= POSITIVE)
        candidates = np.unique(np.concatenate([data.document[rows], extra]))
        return Batch(
            rows=rows,
            inputs=inputs,
            lengths=data.lengths[inputs],
            query=_places(data.query[rows], place_of),
            document=_places(data.document[rows], place_of),
            label=data.label[rows],
            positive=positive,
            candidates=_places(candidates, place_of),
            own=np.searchsorted(candidates, data.document[rows][positive]),
            masked=self._masked(rows[positive], candidates),
            lists=_lists(data.query[rows], data.label[rows]),
        )

    def _masked(self, rows: Ints, candidates: Ints) -> NDArray[np.bool_]:
        data = self._data
        if not self._mask:
            return np.zeros((len(rows), len(candidates)), bool)
        return false_negatives(self._known, data.query[rows], data.query_group[rows], data.document[rows], candidates)


def _places(numbers: Ints, place_of: dict[int, int]) -> Ints:
    return np.fromiter((place_of[number] for number in numbers.tolist()), np.int64, len(numbers))


def _lists(queries: Ints, label: NDArray[np.float32]) -> Ints:
    """Lay the pairs of equal queries out as rows, best label first, filled up with -1."""
    order = np.lexsort((-label, queries))
    starts = np.flatnonzero(np.r_[True, np.diff(queries[order]) != 0])
    sizes = np.diff(np.r_[starts, len(order)])
    lists = np.full((len(starts), int(sizes.max(initial=1))), -1, np.int64)
    places = np.arange(len(order)) - np.repeat(starts, sizes)
    lists[np.repeat(np.arange(len(starts)), sizes), places] = order
    return lists
