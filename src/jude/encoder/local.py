"""The packaged model on this machine's CPU. Imports torch: open it through `jude.encoder.open_encoder`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from jude.encoder.batches import token_batches
from jude.encoder.packaged import LocalModel
from jude.encoder.spec import DEFAULT_BATCH_TOKENS
from jude.errors import TerminalEnvironmentError

try:
    import torch

    from jude.encoder.bert import PackedBert, mean_pool
except ModuleNotFoundError as missing:
    raise TerminalEnvironmentError(
        f"The package {missing.name} is not installed, which makes vectors here. Install it: pip install 'jude[torch]'."
    ) from missing


class LocalEncoder:
    """A BERT folder with mean pooling and unit norm, in float32. Several threads may call it."""

    def __init__(
        self,
        model_version: str,
        model: LocalModel,
        *,
        batch_tokens: int = DEFAULT_BATCH_TOKENS,
        threads: int | None = None,
    ) -> None:
        """Load the model. `threads` holds for all of torch in this process; None leaves torch's own choice."""
        if threads is not None:
            torch.set_num_threads(threads)
        self.model_version = model_version
        self.width = model.width
        self._batch_tokens = batch_tokens
        self._bert = PackedBert(model.folder)

    def encode(self, token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Encode inputs to a float32 array [len(token_ids), width], in order.

        An input that the model cannot read (no token, too many, an unknown id) gets a row of NaN.
        """
        vectors = np.full((len(token_ids), self.width), np.nan, np.float32)
        readable = np.array([row for row, ids in enumerate(token_ids) if self._can_read(ids)], np.int64)
        for batch in token_batches([len(token_ids[row]) for row in readable], self._batch_tokens):
            rows = readable[batch]
            vectors[rows] = self._forward([token_ids[row] for row in rows])
        return vectors

    def _can_read(self, ids: Sequence[int]) -> bool:
        return 0 < len(ids) <= self._bert.most_tokens and min(ids) >= 0 and max(ids) < self._bert.vocabulary

    @torch.inference_mode()
    def _forward(self, token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        lengths = [len(ids) for ids in token_ids]
        ids_T = torch.tensor(list(chain.from_iterable(token_ids)))
        vectors_BD = mean_pool(self._bert(ids_T, lengths), lengths)
        pooled: NDArray[np.float32] = torch.nn.functional.normalize(vectors_BD, dim=1).numpy()
        return pooled
