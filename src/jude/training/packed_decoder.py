"""The encoder's forward pass of decoders over the modules that peft has wrapped: with gradients and checkpointing.

No padding, as for BERT (`packed_bert`). Norms and words are frozen: where all weights are trained, or Liger's kernels
are asked for, transformers' own pass is taken.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from jude.encoder.decoder import (
    Layer,
    PackedDecoder,
    activation_of,
    attention_of,
    embedding_of,
    norm_of,
    reads,
    turns_of,
)
from jude.training.checkpointing import computed_again
from jude.training.products import product_of


def can_pack(model: nn.Module, max_tokens: int) -> bool:
    """Whether this forward pass is the model's."""
    config: Any = model.config
    return reads(config.to_dict(), max_tokens)


def packed_decoder(decoder: Any, checkpointing: str, max_tokens: int, *, causal: bool) -> PackedDecoder:  # noqa: ANN401  any of transformers' decoders
    """Build the pass."""
    config, words_VD = decoder.config.to_dict(), decoder.embed_tokens.weight.detach()
    return PackedDecoder(
        embed=embedding_of(config, words_VD),
        layers=computed_again([_layer(config, layer, causal=causal) for layer in decoder.layers], checkpointing),
        norm=norm_of(config, decoder.norm.weight.detach()),
        turns=turns_of(config, max_tokens, words_VD.device),
        vocabulary=len(words_VD),
    )


def _layer(config: dict[str, Any], layer: Any, *, causal: bool) -> Layer:  # noqa: ANN401 - transformers'
    attention, fed = layer.self_attn, layer.mlp
    norms = [getattr(attention, f"{part}_norm", None) for part in "qk"]
    q_E, k_E = (None if norm is None else norm.weight.detach() for norm in norms)
    return Layer(
        before=norm_of(config, layer.input_layernorm.weight.detach()),
        query=product_of(attention.q_proj),
        key_value=product_of(attention.k_proj, attention.v_proj),
        attention=attention_of(config, q_E, k_E, causal=causal),
        attended=product_of(attention.o_proj),
        between=norm_of(config, layer.post_attention_layernorm.weight.detach()),
        gate=product_of(fed.gate_proj, activation=activation_of(config)),
        up=product_of(fed.up_proj),
        down=product_of(fed.down_proj),
    )
