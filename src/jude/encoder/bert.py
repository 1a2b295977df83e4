"""BERT's forward pass over texts laid end to end: no padding, so no text waits for, or leaks into, another.

Plain torch and a safetensors file. Importing transformers takes 14 seconds of CPU per process here, this none; the
tests hold it to transformers' own forward.
"""

# T tokens of all texts together, B texts, L tokens of one text, D width, H heads, E width of a head

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import gelu, layer_norm, linear, scaled_dot_product_attention

from jude.errors import TerminalEnvironmentError

Run = tuple[int, int]
"""Neighbouring texts of equal length: how many, how long."""


@dataclass(frozen=True, slots=True)
class _Dense:
    weight: Tensor
    bias: Tensor

    def __call__(self, x_TD: Tensor) -> Tensor:
        return linear(x_TD, self.weight, self.bias)


@dataclass(frozen=True, slots=True)
class _Norm:
    weight: Tensor
    bias: Tensor
    eps: float

    def __call__(self, x_TD: Tensor) -> Tensor:
        return layer_norm(x_TD, self.weight.shape, self.weight, self.bias, self.eps)


@dataclass(frozen=True, slots=True)
class _Layer:
    query_key_value: _Dense  # one product instead of three
    attended: _Dense
    attended_norm: _Norm
    wide: _Dense
    narrow: _Dense
    narrow_norm: _Norm

    def __call__(self, x_TD: Tensor, runs: Sequence[Run], heads: int) -> Tensor:
        mixed_TD = _attend(self.query_key_value(x_TD), runs, heads)
        x_TD = self.attended_norm(self.attended(mixed_TD) + x_TD)
        return self.narrow_norm(self.narrow(gelu(self.wide(x_TD))) + x_TD)


class PackedBert:
    """The encoder stack of a BERT folder, without its pooler. float32, for inference."""

    def __init__(self, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_bytes())
        if config["model_type"] != "bert" or config["hidden_act"] != "gelu":
            found = f"{config['model_type']} with {config['hidden_act']}"
            raise TerminalEnvironmentError(f"{folder} is a {found}; this forward pass is for a BERT with gelu.")
        weights = {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()}
        self.heads = int(config["num_attention_heads"])
        eps = float(config["layer_norm_eps"])
        self._words_VD = weights["embeddings.word_embeddings.weight"]
        # Every token of a single text has type 0, so that its embedding belongs to the position's.
        types = weights["embeddings.token_type_embeddings.weight"]
        self._places_LD = weights["embeddings.position_embeddings.weight"] + types[0]
        self._norm = _norm(weights, "embeddings.LayerNorm", eps)
        self._layers = [_layer(weights, f"encoder.layer.{n}.", eps) for n in range(config["num_hidden_layers"])]
        self.vocabulary = len(self._words_VD)
        self.most_tokens = len(self._places_LD)

    def __call__(self, ids_T: Tensor, lengths: Sequence[int]) -> Tensor:
        """Give the last hidden states [T, D]. Texts of equal length are fastest as neighbours."""
        places_T = torch.cat([torch.arange(length) for length in lengths])
        x_TD = self._norm(self._words_VD[ids_T] + self._places_LD[places_T])
        runs = [(len(list(run)), length) for length, run in groupby(lengths)]
        for layer in self._layers:
            x_TD = layer(x_TD, runs, self.heads)
        return x_TD


def mean_pool(x_TD: Tensor, lengths: Sequence[int]) -> Tensor:
    """Average the tokens of each text: [B, D]."""
    lengths_B = torch.tensor(lengths)
    text_T = torch.repeat_interleave(torch.arange(len(lengths)), lengths_B)
    sums_BD = x_TD.new_zeros(len(lengths), x_TD.shape[1]).index_add_(0, text_T, x_TD)
    return sums_BD / lengths_B[:, None]


def _attend(qkv_T3D: Tensor, runs: Sequence[Run], heads: int) -> Tensor:
    """Attention within each text; texts of equal length share a call and need no mask."""
    width = qkv_T3D.shape[1] // 3
    mixed_TD = qkv_T3D.new_empty(len(qkv_T3D), width)
    start = 0
    for texts, length in runs:
        end = start + texts * length
        q_BHLE, k_BHLE, v_BHLE = qkv_T3D[start:end].view(texts, length, 3, heads, -1).permute(2, 0, 3, 1, 4)
        mixed_BHLE = scaled_dot_product_attention(q_BHLE, k_BHLE, v_BHLE)
        mixed_TD[start:end] = mixed_BHLE.transpose(1, 2).reshape(end - start, width)
        start = end
    return mixed_TD


def _layer(weights: dict[str, Tensor], prefix: str, eps: float) -> _Layer:
    attention = [f"{prefix}attention.self.{part}" for part in ("query", "key", "value")]
    return _Layer(
        query_key_value=_Dense(
            torch.cat([weights[f"{name}.weight"] for name in attention]),
            torch.cat([weights[f"{name}.bias"] for name in attention]),
        ),
        attended=_dense(weights, f"{prefix}attention.output.dense"),
        attended_norm=_norm(weights, f"{prefix}attention.output.LayerNorm", eps),
        wide=_dense(weights, f"{prefix}intermediate.dense"),
        narrow=_dense(weights, f"{prefix}output.dense"),
        narrow_norm=_norm(weights, f"{prefix}output.LayerNorm", eps),
    )


def _dense(weights: dict[str, Tensor], name: str) -> _Dense:
    return _Dense(weights[f"{name}.weight"], weights[f"{name}.bias"])


def _norm(weights: dict[str, Tensor], name: str, eps: float) -> _Norm:
    return _Norm(weights[f"{name}.weight"], weights[f"{name}.bias"], eps)
