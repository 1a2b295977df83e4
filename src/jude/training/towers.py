"""Two towers that share one base: a text's prompt says which tower it is in, so one forward pass serves both."""

# T tokens of all texts together, B texts, L tokens of the longest, D width

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from jude.encoder.pooling import pool
from jude.errors import TerminalTrainingError
from jude.training.adapters import add_adapters
from jude.training.packed_bert import can_pack, packed_hidden
from jude.training.settings import LoraSettings, ModelSettings

TokenIds = Sequence[NDArray[np.int32]]


class Towers(nn.Module):
    """The adapted base with its pooling. Vectors are not yet of unit norm: each loss normalises in float32."""

    def __init__(self, inner: nn.Module, model: ModelSettings, lora: LoraSettings | None) -> None:
        """Wrap an opened model; without `lora` every weight of it is trained."""
        super().__init__()
        self.inner = inner  # the modules themselves: peft replaces linear layers in place
        self.adapted: Any = add_adapters(inner, lora) if lora else None
        if lora is None:
            inner.requires_grad_(True)
        self._pooling = model.pooling
        self._checkpointing = model.checkpointing
        self._packs = can_pack(inner)
        config: Any = inner.config
        self._vocabulary = int(config.vocab_size)
        if model.checkpointing == "selective" and not self._packs:
            raise TerminalTrainingError("model.checkpointing: selective is built for BERT; set none or full here.")
        if model.checkpointing == "full" and not self._packs:
            stock: Any = inner
            stock.gradient_checkpointing_enable({"use_reentrant": False})

    def forward(self, token_ids: TokenIds) -> Tensor:
        """Encode inputs to float32 [B, D]. Raises TerminalTrainingError for an id that the model does not know."""
        lengths = [len(ids) for ids in token_ids]
        ids_T = torch.from_numpy(np.concatenate(token_ids).astype(np.int64))
        if int(ids_T.max()) >= self._vocabulary:
            raise TerminalTrainingError(f"Token id {int(ids_T.max())} is not in the model's {self._vocabulary} words.")
        ids_T = ids_T.to(next(self.inner.parameters()).device)
        with torch.autocast(ids_T.device.type, torch.bfloat16, enabled=self._in_bfloat16()):
            packed = packed_hidden(self.inner, ids_T, lengths, self._checkpointing) if self._packs else None
            hidden_TD = self._padded_hidden(ids_T, lengths) if packed is None else packed
        return pool(hidden_TD, torch.tensor(lengths, device=hidden_TD.device), self._pooling)

    def _in_bfloat16(self) -> bool:
        """The base is in bfloat16, its adapters in float32: autocast joins them."""
        return next(self.inner.parameters()).dtype == torch.bfloat16

    def _padded_hidden(self, ids_T: Tensor, lengths: list[int]) -> Tensor:
        longest = max(lengths)
        real_BL = torch.arange(longest, device=ids_T.device) < torch.tensor(lengths, device=ids_T.device)[:, None]
        ids_BL = ids_T.new_zeros(len(lengths), longest)
        ids_BL[real_BL] = ids_T
        hidden_BLD: Tensor = self.inner(input_ids=ids_BL, attention_mask=real_BL.long()).last_hidden_state
        return hidden_BLD[real_BL]
