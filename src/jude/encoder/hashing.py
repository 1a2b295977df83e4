"""An encoder without a model: stable vectors in microseconds, for tests and for benchmarks of everything else.

Vectors of texts that share words are somewhat alike, which makes examples readable. They carry no meaning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from itertools import chain
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from jude.encoder.prompts import prompt_of
from jude.encoder.protocol import ModelInput
from jude.encoder.version import InputHasher

HASHING_ALGORITHM = "jude-hashing-1"
"""Part of the model version: to be raised when an id or a vector comes out differently."""

DEFAULT_MAX_TOKENS = 256
DEFAULT_WIDTH = 64

_REMEMBERED_WORDS = 1 << 20  # about 100 MB at most, then it starts afresh
_OWN = 0.25  # share of a vector that belongs to the exact sequence: no two inputs have the same vector


class HashingTokeniser:
    """One token per word; its id is a hash of the word, so there is no vocabulary."""

    def __init__(
        self, model_version: str, max_tokens: int = DEFAULT_MAX_TOKENS, prompts: Mapping[str, str] | None = None
    ) -> None:
        self.model_version = model_version
        self._max_tokens = max_tokens
        self._prompts = prompts or {}
        self._ids = _WordIds()

    def inputs(self, entity_type: str, texts: Sequence[str]) -> list[ModelInput]:
        """Give one input per text, in order. Raises TerminalSettingsError for an entity type without a prompt."""
        prompt = prompt_of(self._prompts, entity_type)
        input_hash = InputHasher(self.model_version, prompt).hash
        id_of, most = self._ids.__getitem__, self._max_tokens
        self._ids.forget_if_many()
        made = []
        for text in texts:
            words = (prompt + text).split(None, most)  # at most one piece more than is kept
            token_ids = tuple(map(id_of, words[:most]))
            made.append(ModelInput(input_hash(token_ids), token_ids, len(words) > most))
        return made


class _WordIds(dict[str, int]):
    """Word -> id, a hash of 31 bits. Remembered: hashing a word takes ten times as long as finding it."""

    def __missing__(self, word: str) -> int:
        digest = blake2b(word.encode("utf-8", "surrogatepass"), digest_size=4).digest()
        self[word] = number = int.from_bytes(digest, "little") >> 1
        return number

    def forget_if_many(self) -> None:
        if len(self) > _REMEMBERED_WORDS:
            self.clear()


class HashingEncoder:
    """Vectors of unit norm that are a function of the token ids alone."""

    def __init__(self, model_version: str, width: int = DEFAULT_WIDTH) -> None:
        self.model_version = model_version
        self.width = width

    def encode(self, token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Encode inputs to a float32 array [len(token_ids), width], in order."""
        rows = len(token_ids)
        lengths = np.fromiter(map(len, token_ids), np.int64, rows)
        ids = np.fromiter(chain.from_iterable(token_ids), np.int64, int(lengths.sum())).astype(np.uint64)
        row = np.repeat(np.arange(rows), lengths)
        vectors = self._word_part(_mix(ids), row, rows)
        vectors /= np.sqrt(np.maximum((vectors * vectors).sum(axis=1, keepdims=True), 1.0))
        vectors += _OWN * self._own_part(ids, row, lengths)
        vectors /= np.sqrt((vectors * vectors).sum(axis=1, keepdims=True))
        return vectors.astype(np.float32)

    def _word_part(self, mixed: NDArray[np.uint64], row: NDArray[np.int64], rows: int) -> NDArray[np.float64]:
        """Every token adds 1 or -1 to one place of its row. Sums of whole numbers: exact in any order."""
        place = row * self.width + (mixed % np.uint64(self.width)).astype(np.int64)
        sign = 1.0 - 2.0 * (mixed >> np.uint64(63)).astype(np.float64)
        sums: NDArray[np.float64] = np.bincount(place, sign, rows * self.width).astype(np.float64, copy=False)
        return sums.reshape(rows, self.width)

    def _own_part(
        self, ids: NDArray[np.uint64], row: NDArray[np.int64], lengths: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """A direction drawn from a hash of the whole sequence, order included; norm near 1."""
        starts = np.cumsum(lengths) - lengths
        at = (np.arange(len(ids)) - starts[row]).astype(np.uint64)
        seed = lengths.astype(np.uint64)
        np.add.at(seed, row, _mix(ids + (at << np.uint64(32))))
        places = np.arange(self.width, dtype=np.uint64)
        bits = _mix(_mix(seed)[:, None] + places[None, :])
        uniform: NDArray[np.float64] = (bits >> np.uint64(11)).astype(np.float64) / 2.0**52 - 1.0
        return uniform * sqrt(3.0 / self.width)


def _mix(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele, Lea, Flood 2014): every input bit reaches every output bit."""
    numbers = numbers + np.uint64(0x9E3779B97F4A7C15)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))
