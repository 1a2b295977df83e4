"""A model on this machine. Imports torch: open it through `jude.encoder.open_encoder`."""

# T tokens of all texts together, B texts, D width

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from jude.encoder.batches import even_batches, padding_share, token_batches
from jude.encoder.made_of import MadeOf
from jude.encoder.spec import DEFAULT_BATCH_TOKENS
from jude.errors import TerminalEnvironmentError

try:
    import torch
    from torch import Tensor

    from jude.encoder.forward import open_forward
    from jude.encoder.lanes import Lanes
    from jude.encoder.pooling import finish, pool
except ModuleNotFoundError as missing:
    raise TerminalEnvironmentError(
        f"The package {missing.name} is not installed, which makes vectors here. Install it: pip install 'jude[torch]'."
    ) from missing


class LocalEncoder:
    """A model folder as vectors. Several threads may call it."""

    def __init__(
        self,
        model_version: str,
        made_of: MadeOf,
        *,
        batch_tokens: int = DEFAULT_BATCH_TOKENS,
        threads: int | None = None,
        device: str = "cpu",
    ) -> None:
        """Load the model. `threads` holds for all of torch in this process; None leaves torch's own choice."""
        self.model_version = model_version
        self.width = made_of.width
        self._made_of = made_of
        self._device = device
        self._batch_tokens = batch_tokens
        self._forward = open_forward(made_of, device)
        self._lanes = Lanes(threads if device == "cpu" else 1)
        self.padding_share = 0.0  # of the last call: the tokens that were computed for nothing

    @property
    def side_by_side(self) -> int:
        """How many calls of `encode_on_one_core` make more vectors than one call at a time of `encode`."""
        return self._lanes.count

    def encode(self, token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Encode inputs to a float32 array [len(token_ids), width], in order.

        An input that the model cannot read (no token, too many, an unknown id) gets a row of NaN.
        """
        return self._filled(token_ids, self._lanes.count)

    def encode_on_one_core(self, token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Encode as `encode` does, and leave the other cores to other calls."""
        return self._lanes.on_one_core(lambda: self._filled(token_ids, 1))

    def give_way(self) -> None:
        """Let those who wait for no pass, such as a server's event loop, go first on every core."""
        self._lanes.give_way()

    def _filled(self, token_ids: Sequence[Sequence[int]], lanes: int) -> NDArray[np.float32]:
        vectors = np.full((len(token_ids), self.width), np.nan, np.float32)
        readable = np.array([row for row, ids in enumerate(token_ids) if self._can_read(ids)], np.int64)
        lengths = [len(token_ids[row]) for row in readable]

        def encode_batch(batch: NDArray[np.int64]) -> None:
            rows = readable[batch]
            vectors[rows] = self._encode([token_ids[row] for row in rows])

        # Long texts first: the last lane to end has little left.
        self._lanes.run(encode_batch, self._batches(lengths, lanes)[::-1], lanes)
        return vectors

    def _batches(self, lengths: Sequence[int], lanes: int) -> list[NDArray[np.int64]]:
        if not self._forward.pads:
            return even_batches(lengths, self._batch_tokens, lanes)
        batches = token_batches(lengths, self._batch_tokens)
        self.padding_share = padding_share(lengths, batches)
        return batches

    def _can_read(self, ids: Sequence[int]) -> bool:
        return 0 < len(ids) <= self._forward.most_tokens and min(ids) >= 0 and max(ids) < self._forward.vocabulary

    @torch.inference_mode()
    def _encode(self, token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        lengths = [len(ids) for ids in token_ids]
        ids_T = torch.tensor(list(chain.from_iterable(token_ids)), device=self._device)
        pooled_BD = self._pooled(ids_T, lengths)
        vectors_BD = finish(pooled_BD, self.width, normalised=self._made_of.normalise)
        found: NDArray[np.float32] = vectors_BD.cpu().numpy()
        return found

    def _pooled(self, ids_T: Tensor, lengths: Sequence[int]) -> Tensor:
        lengths_B = torch.tensor(lengths, device=self._device)
        pooling = self._made_of.pooling
        if pooling == "last" or (pooling == "cls" and self._made_of.mask == "bidirectional"):
            only_B = lengths_B.cumsum(0) - (1 if pooling == "last" else lengths_B)
            return self._forward(ids_T, lengths, only_B).float()
        return pool(self._forward(ids_T, lengths), lengths_B, pooling)
