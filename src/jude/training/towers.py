"""Two towers that share one base: a text's prompt says which tower it is in, so one forward pass serves both."""

# T tokens of all texts together, B texts, D width

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from jude.encoder.bert import PackedBert
from jude.encoder.decoder import PackedDecoder
from jude.encoder.pooling import pool
from jude.encoder.transformer import OpenTransformer
from jude.errors import TerminalTrainingError
from jude.training import packed_bert, packed_decoder
from jude.training.adapters import add_adapters
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
        config: Any = inner.config
        self._vocabulary = int(config.vocab_size)
        self.width = int(config.hidden_size)
        self._stock = OpenTransformer.of(inner, causal=model.mask and model.mask == "causal", packs=False)
        self._packed = _packed(inner, model, lora, causal=self._stock.causal)
        if self._packed is None:
            _checkpoint_stock(inner, model.checkpointing)
        self.train()  # a model comes opened for reading, in which mode transformers checkpoint nothing

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.inner.parameters()).device

    def forward(self, token_ids: TokenIds) -> Tensor:
        """Encode inputs to float32 [B, D]. Raises TerminalTrainingError for an id that the model does not know."""
        lengths = [len(ids) for ids in token_ids]
        ids_T = torch.from_numpy(np.concatenate(token_ids).astype(np.int64))
        if int(ids_T.max()) >= self._vocabulary:
            raise TerminalTrainingError(f"Token id {int(ids_T.max())} is not in the model's {self._vocabulary} words.")
        ids_T, lengths_B = ids_T.to(self.device), torch.tensor(lengths, device=self.device)
        with torch.autocast(ids_T.device.type, torch.bfloat16, enabled=self._in_bfloat16()):
            packed = self._packed
            hidden_TD = self._stock.states(ids_T, lengths_B) if packed is None else packed(ids_T, lengths)
        return pool(hidden_TD, lengths_B, self._pooling)

    def _in_bfloat16(self) -> bool:
        """The base is in bfloat16, its adapters in float32: autocast joins them."""
        return next(self.inner.parameters()).dtype == torch.bfloat16


def _packed(
    inner: nn.Module, model: ModelSettings, lora: LoraSettings | None, *, causal: bool
) -> PackedBert | PackedDecoder | None:
    """Give our own pass without padding, where there is one for what is asked."""
    if packed_bert.can_pack(inner):
        return packed_bert.packed_bert(inner, model.checkpointing)
    if lora is None or model.liger or not packed_decoder.can_pack(inner, model.max_tokens):
        return None
    return packed_decoder.packed_decoder(inner, model.checkpointing, model.max_tokens, causal=causal)


def _checkpoint_stock(inner: Any, checkpointing: str) -> None:  # noqa: ANN401  any of transformers' models
    if checkpointing == "selective":
        raise TerminalTrainingError(
            "model.checkpointing: selective is built for our own passes; set none or full here."
        )
    if checkpointing == "full":
        try:
            inner.gradient_checkpointing_enable({"use_reentrant": False})
        except ValueError as error:
            raise TerminalTrainingError(f"{error} Set model.checkpointing: none.") from error
