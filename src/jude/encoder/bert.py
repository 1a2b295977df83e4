"""BERT's forward pass over texts laid end to end: no padding, so no text waits for, or leaks into, another.

Also MiniLM, E5 and BGE, which are BERTs, and XLM-R and RoBERTa, which count positions otherwise. Plain torch and a
safetensors file: importing transformers takes seconds of CPU per process, this none. Training runs the same passes
over products that have gradients (`jude.training.packed_bert`).
"""

# T tokens of all texts together, B texts, D width, H heads, E width of a head, V vocabulary, L positions

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from jude.encoder import fused
from jude.encoder.kernels import Dense, LayerNorm, Product, attend, attend_once
from jude.encoder.pooling import places
from jude.encoder.weights import Weights

FAMILIES: Final = frozenset({"bert", "roberta", "xlm-roberta"})
_FUSED: Final = torch.bfloat16  # in float32 PyTorch's attention is as fast, and BERT has nothing else to fuse


def reads(config: dict[str, Any]) -> bool:
    """Whether this forward pass is the model's own."""
    plain = config.get("position_embedding_type", "absolute") == "absolute" and not config.get("is_decoder")
    return config["model_type"] in FAMILIES and config["hidden_act"] == "gelu" and plain


@dataclass(frozen=True, slots=True)
class Layer:
    """Attention and feed-forward of one layer."""

    heads: int
    query_key_value: Product  # one product instead of three
    attended: Product
    attended_norm: LayerNorm
    wide: Product
    narrow: Product
    narrow_norm: LayerNorm

    def __call__(self, x_TD: Tensor, lengths: Sequence[int], only_B: Tensor | None = None) -> Tensor:
        mixed_TD = self._mixed(self.query_key_value(x_TD), lengths, only_B)
        if only_B is not None:
            x_TD = x_TD[only_B]
        x_TD = self.attended_norm(self.attended.plus(mixed_TD, x_TD))
        return self.narrow_norm(self.narrow.plus(self.wide(x_TD), x_TD))

    def _mixed(self, qkv_TF: Tensor, lengths: Sequence[int], only_B: Tensor | None) -> Tensor:
        if qkv_TF.dtype == _FUSED and fused.fuses(qkv_TF):
            asked_BF = qkv_TF if only_B is None else qkv_TF[only_B]
            width = qkv_TF.shape[1] // (3 * self.heads)
            return fused.attend(
                asked_BF, qkv_TF, lengths, only_B, heads=self.heads, key_heads=self.heads, width=width, causal=False
            )
        q_THE, k_THE, v_THE = qkv_TF.view(len(qkv_TF), 3, self.heads, -1).unbind(1)
        if only_B is None:
            return attend(q_THE, k_THE, v_THE, lengths, causal=False)
        return attend_once(q_THE[only_B], k_THE, v_THE, lengths)


@dataclass(frozen=True, slots=True)
class PackedBert:
    """The encoder stack of a BERT, without its pooler."""

    embed: Callable[[Tensor, Tensor], Tensor]  # ids [T] and places [T] -> [T, D]
    layers: Sequence[Callable[[Tensor, Sequence[int], Tensor | None], Tensor]]
    vocabulary: int
    most_tokens: int
    pads: bool = False

    def __call__(self, ids_T: Tensor, lengths: Sequence[int], only_B: Tensor | None = None) -> Tensor:
        """Give the last hidden states [T, D], or [B, D] of the tokens `only_B`, one of each text.

        Texts of equal length are fastest as neighbours.
        """
        x_TD = self.embed(ids_T, places(torch.tensor(lengths, device=ids_T.device)))
        for layer in self.layers[:-1]:
            x_TD = layer(x_TD, lengths, None)
        return self.layers[-1](x_TD, lengths, only_B)


def open_bert(config: dict[str, Any], weights: Weights) -> PackedBert:
    """Lay a folder's weights out for inference.

    Raises TerminalEnvironmentError when the weights are not those of the config.
    """
    eps = float(config["layer_norm_eps"])
    words_VD = weights.get("embeddings.word_embeddings.weight")
    if words_VD.device.type == "cpu" and words_VD.dtype == _FUSED:
        fused.compile_ahead(_FUSED)
    # Every token of a single text has type 0, so that its embedding belongs to the position's.
    types = weights.get("embeddings.token_type_embeddings.weight")
    places_LD = weights.get("embeddings.position_embeddings.weight")[first_place(config) :] + types[0]
    norm = _norm(weights, "embeddings.LayerNorm", eps)
    return PackedBert(
        embed=lambda ids_T, places_T: norm(words_VD[ids_T] + places_LD[places_T]),
        layers=[_layer(config, weights, f"encoder.layer.{n}.", eps) for n in range(config["num_hidden_layers"])],
        vocabulary=len(words_VD),
        most_tokens=len(places_LD),
    )


def first_place(config: dict[str, Any]) -> int:
    """Give the row of the position table where texts begin: RoBERTa's kin count from behind the padding's id."""
    return 0 if config["model_type"] == "bert" else int(config["pad_token_id"]) + 1


def _layer(config: dict[str, Any], weights: Weights, prefix: str, eps: float) -> Layer:
    attention = [f"{prefix}attention.self.{part}" for part in ("query", "key", "value")]
    return Layer(
        heads=int(config["num_attention_heads"]),
        query_key_value=Dense(*weights.together(*attention)),
        attended=Dense(*weights.together(f"{prefix}attention.output.dense")),
        attended_norm=_norm(weights, f"{prefix}attention.output.LayerNorm", eps),
        wide=Dense(*weights.together(f"{prefix}intermediate.dense"), "gelu"),
        narrow=Dense(*weights.together(f"{prefix}output.dense")),
        narrow_norm=_norm(weights, f"{prefix}output.LayerNorm", eps),
    )


def _norm(weights: Weights, name: str, eps: float) -> LayerNorm:
    return LayerNorm(weights.get(f"{name}.weight"), weights.get(f"{name}.bias"), eps)
