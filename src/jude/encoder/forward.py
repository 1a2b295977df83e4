"""Which forward pass reads a model: our own where there is one, else transformers."""

# T tokens of all texts together, B texts, D width

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from jude.encoder import bert, decoder
from jude.encoder.kernels import cpu_is_faster_in_bfloat16
from jude.encoder.made_of import MadeOf
from jude.encoder.weights import Weights
from jude.errors import TerminalEnvironmentError, TerminalSettingsError

_log = logging.getLogger(__name__)


class Forward(Protocol):
    """Token ids of texts laid end to end in, their last hidden states out."""

    @property
    def pads(self) -> bool:
        """Whether shorter texts of a batch are padded to its longest."""
        ...

    @property
    def vocabulary(self) -> int: ...

    @property
    def most_tokens(self) -> int: ...

    def __call__(self, ids_T: Tensor, lengths: Sequence[int], only_B: Tensor | None = None) -> Tensor:
        """Give states [T, D], or [B, D] of the tokens `only_B`, one of each text that has read all of it."""
        ...


def open_forward(made_of: MadeOf, device: str) -> Forward:
    """Load the weights and lay them out. Raises TerminalEnvironmentError."""
    require_device(device)
    model = made_of.model
    dtype = _compute_type(made_of.compute, device)
    if bert.reads(model.config) and made_of.mask == "bidirectional":
        return bert.open_bert(model.config, _weights(made_of, dtype, device))
    if model.family in decoder.FAMILIES and decoder.reads(model.config, made_of.max_tokens):
        causal = made_of.mask == "causal"
        return decoder.open_decoder(model.config, _weights(made_of, dtype, device), made_of.max_tokens, causal=causal)
    return _ByTransformers(made_of, dtype, device)


def require_device(device: str) -> None:
    """Raises TerminalEnvironmentError when the accelerator that is asked for is not there."""
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise TerminalEnvironmentError(
            f"encoder.device is {device}, but PyTorch finds no NVIDIA GPU here. Set encoder.device: cpu, or check the "
            "driver with nvidia-smi."
        )


def _compute_type(compute: str, device: str) -> torch.dtype:
    """Where bfloat16 is slower than float32, the rounded weights are computed with in that."""
    if compute == "bfloat16" and device == "cpu" and not cpu_is_faster_in_bfloat16():
        _log.warning("This CPU is slower in bfloat16: the same rounded weights are computed with in float32.")
        return torch.float32
    return torch.float32 if compute == "float32" else torch.bfloat16


def _weights(made_of: MadeOf, dtype: torch.dtype, device: str) -> Weights:
    return Weights(made_of.model.folder, made_of.adapter, dtype, device, rounded=_rounded(made_of))


def _rounded(made_of: MadeOf) -> torch.dtype | None:
    return torch.bfloat16 if made_of.compute == "bfloat16" else None


class _ByTransformers:
    """Every other family; the states of all tokens are computed."""

    def __init__(self, made_of: MadeOf, dtype: torch.dtype, device: str) -> None:
        from jude.encoder.transformer import PACKED, open_transformer

        model, causal = made_of.model, made_of.mask == "causal"
        if causal and model.family not in PACKED:
            raise TerminalSettingsError(
                f"encoder.mask is causal, which {model.family} here cannot be: {', '.join(sorted(PACKED))} can."
            )
        self._opened = open_transformer(
            model.folder, dtype=dtype, device=device, causal=causal, adapter=made_of.adapter, rounded=_rounded(made_of)
        )
        self.pads = not self._opened.packs
        self.vocabulary = int(model.config["vocab_size"])
        self.most_tokens = model.trained_max_tokens

    def __call__(self, ids_T: Tensor, lengths: Sequence[int], only_B: Tensor | None = None) -> Tensor:
        states_TD = self._opened.states(ids_T, torch.tensor(lengths, device=ids_T.device))
        return states_TD if only_B is None else states_TD[only_B]
