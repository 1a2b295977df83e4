"""A forward pass through transformers' own BERT modules over texts laid end to end, with gradients and adapters.

No padding: a text neither waits for another nor leaks into it. The modules stay those that peft has wrapped, so that
adapters, dropout and checkpointing work as in the stock forward, which the tests hold this to.
"""

# T tokens of all texts together, D width, B texts of equal length, L their length, H heads, E width of a head

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

Run = tuple[int, int]
"""Neighbouring texts of equal length: how many, how long."""


def can_pack(model: nn.Module) -> bool:
    """Whether this forward pass is the model's: a BERT with gelu and absolute positions."""
    config: Any = model.config
    absolute = getattr(config, "position_embedding_type", "absolute") == "absolute"
    return config.model_type == "bert" and config.hidden_act == "gelu" and absolute


def packed_hidden(bert: Any, ids_T: Tensor, lengths: Sequence[int], checkpointing: str = "none") -> Tensor:  # noqa: ANN401
    """Give the last hidden states [T, D]. Texts of equal length are fastest as neighbours."""
    places_T = torch.cat([torch.arange(length, device=ids_T.device) for length in lengths])
    embeddings = bert.embeddings
    x_TD = embeddings.word_embeddings(ids_T) + embeddings.position_embeddings(places_T)
    x_TD = x_TD + embeddings.token_type_embeddings.weight[0]
    hidden_TD: Tensor = embeddings.dropout(embeddings.LayerNorm(x_TD))
    runs = [(len(list(run)), length) for length, run in groupby(lengths)]
    layers: Sequence[nn.Module] = bert.encoder.layer
    for number, layer in enumerate(layers):
        again = checkpointing == "full" or (checkpointing == "selective" and number % 2 == 1)
        hidden_TD = _maybe_checkpointed(again and torch.is_grad_enabled(), _layer, layer, hidden_TD, runs)
    return hidden_TD


def _maybe_checkpointed(again: bool, call: Callable[..., Tensor], *args: Any) -> Tensor:  # noqa: ANN401
    if not again:
        return call(*args)
    found: Tensor = checkpoint(call, *args, use_reentrant=False)
    return found


def _layer(layer: Any, x_TD: Tensor, runs: Sequence[Run]) -> Tensor:  # noqa: ANN401
    attention, out = layer.attention.self, layer.attention.output
    mixed_TD = _attend(attention, x_TD, runs)
    x_TD = out.LayerNorm(out.dropout(out.dense(mixed_TD)) + x_TD)
    wide_TW = gelu(layer.intermediate.dense(x_TD))
    narrow = layer.output
    normed: Tensor = narrow.LayerNorm(narrow.dropout(narrow.dense(wide_TW)) + x_TD)
    return normed


def _attend(attention: Any, x_TD: Tensor, runs: Sequence[Run]) -> Tensor:  # noqa: ANN401
    """Attention within each text; texts of equal length share a call and need no mask."""
    heads: int = attention.num_attention_heads
    drop = attention.dropout.p if attention.training else 0.0
    projected = [attention.query(x_TD), attention.key(x_TD), attention.value(x_TD)]
    sizes = [texts * length for texts, length in runs]
    mixed = []
    for (texts, length), *qkv in zip(runs, *(p.split(sizes) for p in projected), strict=True):
        q_BHLE, k_BHLE, v_BHLE = (part.view(texts, length, heads, -1).transpose(1, 2) for part in qkv)
        mixed_BHLE = scaled_dot_product_attention(q_BHLE, k_BHLE, v_BHLE, dropout_p=drop)
        mixed.append(mixed_BHLE.transpose(1, 2).reshape(texts * length, -1))
    return torch.cat(mixed)
