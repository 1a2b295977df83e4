"""A batch of any size in calls of a bounded one: a time limit means something only for a bounded amount of work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from jude.encoder.resilient import Encode, EncodeResult, RetryPolicy, encode_inputs

PASSES_PER_CALL: Final = 32  # of 2,048 tokens: 25 seconds of MiniLM on one slow core, a fifth of the default time limit


@dataclass(slots=True)
class BatchEncoder:
    """Encodes batch after batch. When one fails and comes again, what it already had is not computed again."""

    encode: Encode
    policy: RetryPolicy
    width: int
    call_tokens: int  # at most so many in a call, and at least one input
    _held: dict[str, NDArray[np.float32]] = field(default_factory=dict)  # the vectors of the last batch

    def __call__(self, inputs: Mapping[str, Sequence[int]]) -> EncodeResult:
        """Encode input_hash -> token ids.

        Raises TransientEncoderError when a call gives nothing at all.
        """
        self._held = {h: vector for h, vector in self._held.items() if h in inputs}
        kept, failed = frozenset(self._held), dict[str, str]()
        for part in _parts({h: ids for h, ids in inputs.items() if h not in kept}, self.call_tokens):
            encoded = encode_inputs(self.encode, part, self.policy, width=self.width)
            self._held.update(encoded.vectors)
            failed.update(encoded.failed)
        return EncodeResult({h: self._held[h] for h in inputs if h in self._held}, failed, kept)


def _parts(inputs: Mapping[str, Sequence[int]], call_tokens: int) -> Iterator[dict[str, Sequence[int]]]:
    """Cut inputs into calls, those of like length into one: an encoder computes them together with less waste."""
    part: dict[str, Sequence[int]] = {}
    tokens = 0
    for input_hash, token_ids in sorted(inputs.items(), key=lambda item: len(item[1])):
        if part and tokens + len(token_ids) > call_tokens:
            yield part
            part, tokens = {}, 0
        part[input_hash] = token_ids
        tokens += len(token_ids)
    if part:
        yield part
