"""Backward through a batch that is too large for one forward pass, exactly.

GradCache (Gao et al., arXiv:2101.06983): encode in chunks without a graph, take the loss's gradient at the vectors,
then encode each chunk again and push its part of that gradient into the weights. Accumulation of losses would not do:
each chunk would see its own negatives only. Chunks whose states fit into memory keep them and are encoded once: with
all of them kept this is the plain backward pass, and costs the same.
"""

# U distinct inputs of the batch, D width

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Rows = NDArray[np.int64]
Encode = Callable[[Rows], Tensor]
"""Rows of the batch's inputs -> their vectors [len(rows), D], with a graph where gradients are on."""
Backward = Callable[[Tensor], None]
"""Called once per chunk; gradients add up, and ranks exchange them when all is done."""


class CachedBackward:
    """One update in two passes. `vectors_UD` is what the loss is computed from; then `push` its gradient."""

    def __init__(self, encode: Encode, chunks: Sequence[Rows], kept: int = 1) -> None:
        """Encode all chunks. The last `kept` keep their graphs, so that they are not encoded twice."""
        self._encode = encode
        self._chunks = list(chunks)
        self._states: list[list[Tensor]] = []
        self._parts_CD: list[Tensor] = []
        for number, rows in enumerate(self._chunks):
            self._states.append(_random_states())
            with torch.set_grad_enabled(number >= len(self._chunks) - max(1, kept)):
                self._parts_CD.append(encode(rows))
        order = torch.from_numpy(np.argsort(np.concatenate(self._chunks), kind="stable"))
        vectors = torch.cat([part.detach() for part in self._parts_CD])
        self.vectors_UD = vectors[order.to(vectors.device)].requires_grad_()

    def push(self, grad_UD: Tensor, backward: Backward, extra: Tensor | None = None) -> None:
        """Bring the gradient at the vectors to the weights, chunk by chunk; `extra` is added to the last surrogate."""
        total = len(self._chunks)
        for done, (number, vectors_CD) in enumerate(self._with_graph(), start=1):
            part_CD = grad_UD[torch.from_numpy(self._chunks[number]).to(grad_UD.device)]
            surrogate = (vectors_CD * part_CD.to(vectors_CD.dtype)).sum()
            if done == total and extra is not None:
                surrogate = surrogate + extra
            backward(surrogate)

    def _with_graph(self) -> Iterator[tuple[int, Tensor]]:
        """Kept chunks first, each freed when the next is asked for; a chunk without a graph is encoded again."""
        for number in reversed(range(len(self._chunks))):
            vectors_CD = self._parts_CD.pop()
            if not vectors_CD.requires_grad:
                with _same_randomness(self._states[number]):
                    vectors_CD = self._encode(self._chunks[number])
            yield number, vectors_CD


def _random_states() -> list[Tensor]:
    states = [torch.get_rng_state()]
    return states + ([torch.cuda.get_rng_state()] if torch.cuda.is_available() else [])


@contextmanager
def _same_randomness(states: list[Tensor]) -> Iterator[None]:
    """Dropout must drop the same again, and the run's randomness must go on as if nothing had been repeated."""
    before = _random_states()
    _set_random_states(states)
    try:
        yield
    finally:
        _set_random_states(before)


def _set_random_states(states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if len(states) > 1:
        torch.cuda.set_rng_state(states[1])
