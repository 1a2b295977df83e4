"""The encoder's forward pass of BERT over the modules that peft has wrapped: with gradients, adapters, checkpointing.

No padding: a text neither waits for another nor leaks into it. Dropout of the base is off (`base.open_model`).
"""

# T tokens of all texts together, D width

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from jude.encoder.bert import Layer, PackedBert, first_place, reads
from jude.encoder.kernels import LayerNorm
from jude.training.products import product_of

Pass = Callable[[Tensor, Sequence[int], Tensor | None], Tensor]


def can_pack(model: nn.Module) -> bool:
    """Whether this forward pass is the model's."""
    config: Any = model.config
    return reads(config.to_dict())


def packed_bert(bert: Any, checkpointing: str) -> PackedBert:  # noqa: ANN401  any of transformers' BERTs
    """Build the pass. Layers whose states are not kept: none, every second one (selective), all (full)."""
    config = bert.config
    layers: list[Pass] = [_layer(layer, config.num_attention_heads) for layer in bert.encoder.layer]
    for number in range(len(layers)):
        if checkpointing == "full" or (checkpointing == "selective" and number % 2 == 1):
            layers[number] = _computed_again(layers[number])
    first = first_place(config.to_dict())
    return PackedBert(
        embed=_embedding(bert.embeddings, first),
        layers=layers,
        vocabulary=config.vocab_size,
        most_tokens=config.max_position_embeddings - first,
    )


def _embedding(tables: Any, first: int) -> Callable[[Tensor, Tensor], Tensor]:  # noqa: ANN401 - transformers'
    def embed(ids_T: Tensor, places_T: Tensor) -> Tensor:
        x_TD = tables.word_embeddings(ids_T) + tables.position_embeddings(places_T + first)
        hidden_TD: Tensor = tables.LayerNorm(x_TD + tables.token_type_embeddings.weight[0])
        return hidden_TD

    return embed


def _layer(layer: Any, heads: int) -> Layer:  # noqa: ANN401 - transformers'
    attention, out = layer.attention.self, layer.attention.output
    return Layer(
        heads=heads,
        query_key_value=product_of(attention.query, attention.key, attention.value),
        attended=product_of(out.dense),
        attended_norm=_norm(out.LayerNorm),
        wide=product_of(layer.intermediate.dense, activation="gelu"),
        narrow=product_of(layer.output.dense),
        narrow_norm=_norm(layer.output.LayerNorm),
    )


def _norm(norm: nn.LayerNorm) -> LayerNorm:
    return LayerNorm(norm.weight, norm.bias, norm.eps)


def _computed_again(layer: Pass) -> Pass:
    def call(x_TD: Tensor, lengths: Sequence[int], only_B: Tensor | None) -> Tensor:
        if not torch.is_grad_enabled():
            return layer(x_TD, lengths, only_B)
        found: Tensor = checkpoint(layer, x_TD, lengths, only_B, use_reentrant=False)
        return found

    return call
