"""A random BERT of two layers, random pairs, and what joins them: equality needs no trained weights."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
import torch

from jude.encoder.protocol import ModelInput
from jude.training.data import Batch, BatchMaker, TokenisedPairs, tokenise
from jude.training.data.pairs import checked
from jude.training.engines import EngineKind, open_engine
from jude.training.gather import Group
from jude.training.objective import Objective
from jude.training.plan.memory import Checkpointing
from jude.training.settings import BatchSettings, LoraSettings, LossSettings, ModelSettings, RunSettings, VPSettings
from jude.training.step import Step
from jude.training.towers import Towers

WIDTH = 32
EVERY_TERM = LossSettings(
    bce=1.0, nce=1.0, vp_weight=1.0, symmetric=True, learn_temperature=True, vp=VPSettings(predicates=("constant",))
)


class WordTokeniser:
    """A word is its number."""

    def inputs(self, entity_type: str, texts: list[str]) -> list[ModelInput]:
        first = {"member": 1, "job": 2}[entity_type]
        return [ModelInput("", (first, *(int(word) + 3 for word in text.split())), False) for text in texts]


def random_pairs(count: int = 24, seed: int = 0) -> pa.Table:
    random = np.random.default_rng(seed)

    def text(_: int) -> str:
        return " ".join(map(str, random.integers(0, 50, random.integers(2, 12))))

    return checked(
        pa.table(
            {
                "query_text": [text(n) for n in range(count)],
                "query_type": ["member"] * count,
                "document_text": [text(n) for n in range(count)],
                "document_type": ["job"] * count,
                "label": pa.array(random.random(count) < 0.6, pa.int8()).cast(pa.float32()),
                "query_group": [f"g{n % 9}" for n in range(count)],
                "document_group": [f"g{n % 9}" for n in range(count)],
            }
        )
    )


def random_data(count: int = 24, seed: int = 0) -> TokenisedPairs:
    return tokenise(random_pairs(count, seed), WordTokeniser(), tokeniser_name="words")


def tiny_bert(seed: int = 0) -> torch.nn.Module:
    from transformers.models.bert.configuration_bert import BertConfig
    from transformers.models.bert.modeling_bert import BertModel

    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=64, hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=32, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return BertModel(config, add_pooling_layer=False).requires_grad_(False)


def tiny_towers(
    dropout: float = 0.0, checkpointing: Checkpointing = "none", roles: Literal["qkv", "all"] = "qkv"
) -> Towers:
    model = ModelSettings(checkpointing=checkpointing)
    towers = Towers(tiny_bert(), model, LoraSettings(rank=4, alpha=8, dropout=dropout, roles=roles))
    torch.manual_seed(1)
    for name, parameter in towers.named_parameters():
        if "lora_B" in name:  # they start at zero, which would hide half of every gradient
            torch.nn.init.normal_(parameter, std=0.2)
    return towers


def step_of(
    towers: Towers,
    data: TokenisedPairs,
    loss: LossSettings,
    chunk_tokens: int,
    kept_tokens: int = 0,
    engine: EngineKind = "plain",
    group: Group = None,
) -> tuple[Step, Objective]:
    torch.manual_seed(2)
    objective = Objective(loss, data, WIDTH)
    opened = open_engine(engine, towers, objective, RunSettings())
    batch = BatchSettings(chunk_tokens=chunk_tokens, kept_tokens=kept_tokens)
    return Step(towers, objective, opened, data, batch, group), objective


def whole_batch(data: TokenisedPairs) -> Batch:
    return BatchMaker(data).batch(np.arange(len(data)))
