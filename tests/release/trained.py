"""A finished training run of a tiny random BERT, made by hand, and pairs that its adapter ranks without a fault."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import torch

from jude.evaluation.encoding import encode_by
from jude.evaluation.sets import EvaluationSet, pairs_set
from jude.release.trained import TrainedRun, read_run
from jude.training.adapters import add_adapters
from jude.training.data.pairs import checked
from jude.training.settings import LoraSettings, ModelSettings, PhaseSettings, TrainingSettings
from tests.encoder.tiny import build

TEXTS = 300


def tiny_run(folder: Path, base: Path, seed: int, mask: Literal["causal", "bidirectional"] | None = None) -> TrainedRun:
    """What jobs/train.py leaves behind; the adapter's weights are random and large."""
    from transformers import AutoModel

    torch.manual_seed(seed)
    adapted = add_adapters(AutoModel.from_pretrained(base), LoraSettings(rank=4, alpha=8))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    adapted.save_pretrained(folder / "adapter")
    settings = TrainingSettings(
        phases=(PhaseSettings("relevance", "pairs.parquet", 2),), model=ModelSettings(base=str(base), mask=mask)
    )
    identity = {"settings": settings.as_dict(), "data": ["d1"], "base": "b1", "ranks": 1, "engine": "plain"}
    (folder / "adapter" / "jude_training.json").write_text(json.dumps({"identity": identity, "base": str(base)}))
    numbers = {"loss": 2.0, "loss_nce": 2.0, "gradient_norm": 0.5, "tokens_per_second": 900.0, "skipped": False}
    lines = [json.dumps({"update": update, "phase": "relevance", **numbers}) for update in range(2)]
    (folder / "log.jsonl").write_text("\n".join(lines) + "\n")
    return read_run(folder)


def base_folder(folder: Path) -> Path:
    return build("bert", folder)


def set_that_it_knows(run: TrainedRun) -> EvaluationSet:
    """The document that the adapter puts first is the relevant one."""
    random = np.random.default_rng(0)
    texts = sorted({" ".join(f"w{n}" for n in random.integers(0, 60, random.integers(2, 9))) for _ in range(TEXTS)})
    queries, documents = texts[: TEXTS // 2], texts[TEXTS // 2 :]
    encode = encode_by(replace(run.spec(), prompts={}, threads=1))
    best = (encode("", queries) @ encode("", documents).T).argmax(axis=1)
    pairs = {
        "query_text": queries,
        "query_type": ["member"] * len(queries),
        "document_text": [documents[row] for row in best],
        "document_type": ["job"] * len(queries),
        "label": pa.array([1.0] * len(queries), pa.float32()),
    }
    rows = len(documents)
    trained = {"query_text": ["w1"] * rows, "document_text": documents, "label": pa.array([1.0] * rows, pa.float32())}
    types = {"query_type": ["member"] * rows, "document_type": ["job"] * rows}
    return pairs_set("titles", checked(pa.table(pairs)), checked(pa.table(trained | types)))
