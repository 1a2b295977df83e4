"""Which pairs make up update number n: a pure function of the seed, so that a resumed run needs no saved sampler."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jude.errors import TerminalTrainingError

Rows = NDArray[np.int64]


class Sampler:
    """Draws batches without replacement within an epoch; sources are mixed by size ** (1 / temperature).

    What is drawn is a pair, or, where the pairs have a column `list`, all pairs of a query's stored candidate list.
    """

    def __init__(self, pairs: pa.Table, batch_pairs: int, seed: int, mixing_temperature: float = 1.0) -> None:
        """Raises TerminalTrainingError where there are fewer pairs than one batch takes."""
        if pairs.num_rows < batch_pairs:
            raise TerminalTrainingError(
                f"There are {pairs.num_rows} pairs, and one batch takes {batch_pairs}. Set batch.pairs lower."
            )
        self._members = _lists(pairs)
        units = len(self._members) if self._members else pairs.num_rows
        self._batch = max(1, batch_pairs * units // pairs.num_rows)
        self._seed = seed
        self._sources = self._by_source(pairs)
        sizes = np.asarray([len(rows) for rows in self._sources], float) ** (1 / mixing_temperature)
        # The millionth: 29 of 29 + 71 are 28.999999999999996 of 100.
        self._draws = np.floor(sizes / sizes.sum() * units + 1e-6).astype(int).clip(min=1)
        self.batches_per_epoch = max(1, int(self._draws.sum()) // self._batch)
        self._order = lru_cache(maxsize=2)(self._epoch)

    def rows(self, update: int) -> Rows:
        """Give the pairs of an update, numbered from 0."""
        epoch, place = divmod(update, self.batches_per_epoch)
        units = self._order(epoch)[place * self._batch : (place + 1) * self._batch]
        return np.concatenate([self._members[unit] for unit in units]) if self._members else units

    def _by_source(self, pairs: pa.Table) -> list[Rows]:
        firsts = [rows[0] for rows in self._members] if self._members else slice(None)
        names = np.asarray(["" if name is None else name for name in pairs["source"].to_pylist()])[firsts]
        return [np.flatnonzero(names == name) for name in np.unique(names)]

    def _epoch(self, epoch: int) -> Rows:
        random = np.random.default_rng([self._seed, epoch])
        drawn = [self._drawn(rows, int(n), random) for rows, n in zip(self._sources, self._draws, strict=True)]
        # A tiny set may fall short of one batch by rounding: then its first rows come again.
        return np.resize(random.permutation(np.concatenate(drawn)), max(self._batch, sum(map(len, drawn))))

    @staticmethod
    def _drawn(rows: Rows, count: int, random: np.random.Generator) -> Rows:
        """Take each row once before any comes again."""
        rounds = [random.permutation(rows) for _ in range(-(-count // len(rows)))]
        return np.concatenate(rounds)[:count]


def _lists(pairs: pa.Table) -> list[Rows]:
    if "list" not in pairs.column_names:
        return []
    codes = pairs["list"].combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
