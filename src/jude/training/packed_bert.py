"""The encoder's forward pass of BERT over the modules that peft has wrapped: with gradients, adapters, checkpointing.

No padding: a text neither waits for another nor leaks into it. Dropout of the base is off (`base.open_model`).
"""

# T tokens of all texts together, D width

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from jude.encoder.bert import Layer, PackedBert, first_place, reads
from jude.encoder.kernels import LayerNorm
from jude.training.checkpointing import computed_again
from jude.training.products import product_of


def can_pack(model: nn.Module) -> bool:
    """Whether this forward pass is the model's."""
    config: Any = model.config
    return reads(config.to_dict())


def packed_bert(bert: Any, checkpointing: str) -> PackedBert:  # noqa: ANN401  any of transformers' BERTs
    """Build the pass."""
    config = bert.config
    first = first_place(config.to_dict())
    return PackedBert(
        embed=_embedding(bert.embeddings, first),
        layers=computed_again(
            [_layer(layer, config.num_attention_heads) for layer in bert.encoder.layer], checkpointing
        ),
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
