"""Which stored vector lies where: an index of embedding_store in the memory of the writing process.

`stored()` is asked in every batch, and reading the store for it would cost more with every vector. The index holds, per
vector, a 64-bit hash of its input_hash and the number of its file: 12 bytes in sorted numpy arrays. Measured with 1 M
vectors: 12.0 MB held, 56 MB at the peak of the first build (2 s), 36 MB for a moment when waiting entries fold in.
A hash that agrees by chance costs one look into a file, never a wrong answer: whole hashes are compared at the fetch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

MERGE_AT_ENTRIES: Final = 32_768  # new entries wait in a dict up to here: one sort of 1 M takes about 0.1 s
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)
_SHIFT: Final = np.uint64(29)

Hashes = npt.NDArray[np.uint64]


def hash64(values: pa.Array | pa.ChunkedArray) -> Hashes:
    """Hash strings to 64 bits: eight bytes at a time, multiply and fold. Not for adversaries, only for look-ups."""
    strings = pa.chunked_array([values]) if isinstance(values, pa.Array) else values
    encoded = [v.encode() for v in strings.to_pylist()]
    width = max((len(v) for v in encoded), default=0)
    words = -(-max(width, 1) // 8)
    letters = np.array(encoded, dtype=f"S{words * 8}").view(np.uint64).reshape(len(encoded), words)
    mixed = np.zeros(len(encoded), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for column in letters.T:
            filled = column != 0  # trailing padding does not count: the width of the batch must not matter
            step = (mixed ^ column) * _MIX
            mixed = np.where(filled, step ^ (step >> _SHIFT), mixed)
    return mixed


class StoreIndex:
    """input_hash -> file, for one model version."""

    def __init__(self) -> None:
        self._hashes: Hashes = np.empty(0, dtype=np.uint64)
        self._places: npt.NDArray[np.uint32] = np.empty(0, dtype=np.uint32)
        self._recent: dict[int, tuple[int, ...]] = {}  # hash -> file numbers; two only for a rare double
        self._files: list[str | None] = []  # a number is never used twice; None: the file is gone
        self._numbers: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._hashes) + len(self._recent)

    @property
    def bytes_held(self) -> int:
        """Bytes in the sorted arrays."""
        return self._hashes.nbytes + self._places.nbytes

    @property
    def paths(self) -> Set[str]:
        """The files whose rows are held."""
        return self._numbers.keys()

    def add_file(self, path: str, input_hashes: pa.ChunkedArray) -> None:
        """Take in the rows of a new file."""
        self.add_files([(path, input_hashes)])

    def add_files(self, files: Iterable[tuple[str, pa.ChunkedArray]]) -> None:
        """Take in the rows of new files, with one sort at most; of none where one of them cannot be read."""
        numbered: list[tuple[int, Hashes]] = []
        new = [(path, hash64(input_hashes)) for path, input_hashes in files]
        for path, hashes in new:
            numbered.append((len(self._files), hashes))
            self._numbers[path] = len(self._files)
            self._files.append(path)
        if sum(len(hashes) for _, hashes in numbered) + len(self._recent) > MERGE_AT_ENTRIES:
            places = [np.full(len(hashes), number, dtype=np.uint32) for number, hashes in numbered]
            self._fold_in(np.concatenate([hashes for _, hashes in numbered]), np.concatenate(places))
            return
        for number, hashes in numbered:
            for value in hashes.tolist():
                self._recent[value] = (*self._recent.get(value, ()), number)

    def remove_file(self, path: str) -> None:
        """Forget a file that a compaction or an erasure replaced."""
        number = self._numbers.pop(path, None)
        if number is None:
            return
        self._files[number] = None
        kept = self._places != np.uint32(number)
        self._hashes, self._places = self._hashes[kept], self._places[kept]
        left = {h: tuple(n for n in numbers if n != number) for h, numbers in self._recent.items()}
        self._recent = {h: numbers for h, numbers in left.items() if numbers}

    def files_of(self, input_hashes: Sequence[str]) -> dict[str, list[str]]:
        """Give path -> the input hashes that may lie in it (the caller compares the whole hash)."""
        found: dict[str, list[str]] = {}
        hashes = hash64(pa.array(input_hashes, pa.string()))
        first = np.searchsorted(self._hashes, hashes, side="left")
        last = np.searchsorted(self._hashes, hashes, side="right")
        for input_hash, value, low, high in zip(
            input_hashes, hashes.tolist(), first.tolist(), last.tolist(), strict=True
        ):
            numbers = set(self._places[low:high].tolist())
            numbers.update(self._recent.get(value, ()))
            for number in numbers:
                path = self._files[number]
                if path is not None:
                    found.setdefault(path, []).append(input_hash)
        return found

    def _fold_in(self, hashes: Hashes, places: npt.NDArray[np.uint32]) -> None:
        waiting = [(value, number) for value, numbers in self._recent.items() for number in numbers]
        recent = np.array([value for value, _ in waiting], dtype=np.uint64)
        recent_places = np.array([number for _, number in waiting], dtype=np.uint32)
        self._recent = {}
        every = np.concatenate([self._hashes, recent, hashes])
        where = np.concatenate([self._places, recent_places, places])
        order = np.argsort(every, kind="stable")
        self._hashes, self._places = every[order], where[order]
