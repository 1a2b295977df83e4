"""Both sides of the training benchmark: our update, and the trainer of sentence-transformers, over the same batches."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from jude.training.base import find_base, open_model, open_tokeniser
from jude.training.data import BatchMaker, TokenisedPairs, tokenise
from jude.training.engines import open_engine
from jude.training.objective import Objective
from jude.training.settings import BatchSettings, LoraSettings, LossSettings, ModelSettings, RunSettings
from jude.training.step import Step
from jude.training.towers import Towers

Rows = NDArray[np.int64]
MODEL: Final = ModelSettings(max_tokens=256, device="cpu", dtype="float32")
LORA: Final = LoraSettings(rank=16, alpha=32)
LOSS: Final = LossSettings(nce=1.0, temperature=0.05, mask_false_negatives=False)
SCALE: Final = 20.0  # 1 / temperature
RATE: Final = 1e-4


def tokenised(pairs: pa.Table) -> TokenisedPairs:
    base = find_base(MODEL.base)
    return tokenise(pairs, open_tokeniser(base, MODEL), tokeniser_name=base.tokeniser_name)


class Ours:
    name = "jude"

    def __init__(self, data: TokenisedPairs, batch: BatchSettings) -> None:
        self.model = Towers(open_model(find_base(MODEL.base), MODEL, torch.device("cpu")), MODEL, LORA)
        objective = Objective(LOSS, data, self.model.width)
        self._engine = open_engine("plain", self.model, objective, RunSettings())
        self._step = Step(self.model, objective, self._engine, data, batch)
        self.maker = BatchMaker(data, mask_false_negatives=False)

    def gradient(self, rows: Rows) -> tuple[float, torch.Tensor]:
        cached, terms, _ = self._step.encode(self.maker.batch(rows))
        self._step._push(cached, terms["nce"])
        found = _gradients(self.model)
        self._engine.drop()
        return terms["nce"].item(), found

    def seconds(self, batches: Sequence[Rows]) -> float:
        """Train on the batches; how long the updates took."""
        began = time.perf_counter()
        for rows in batches:
            self._step(self.maker.batch(rows), RATE)
        return time.perf_counter() - began


class Theirs:
    """`mini_batch`: texts of one forward pass of the cached loss; None is the plain loss."""

    name = "sentence-transformers"

    def __init__(self, pairs: pa.Table, mini_batch: int | None) -> None:
        from peft import LoraConfig
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.losses import CachedMultipleNegativesRankingLoss, MultipleNegativesRankingLoss

        dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        self.model = SentenceTransformer(str(find_base(MODEL.base).folder), device="cpu", config_kwargs=dropout)
        self.model.max_seq_length = MODEL.max_tokens
        targets = ["query", "key", "value"]
        self.model.add_adapter(LoraConfig(r=LORA.rank, lora_alpha=LORA.alpha, lora_dropout=0.0, target_modules=targets))
        self._loss: Any = (
            CachedMultipleNegativesRankingLoss(self.model, scale=SCALE, mini_batch_size=mini_batch)
            if mini_batch
            else MultipleNegativesRankingLoss(self.model, scale=SCALE)
        )
        self._pairs = pairs

    def _texts(self, rows: Rows) -> dict[str, list[str]]:
        taken = self._pairs.take(pa.array(rows))
        return {"anchor": taken["query_text"].to_pylist(), "positive": taken["document_text"].to_pylist()}

    def gradient(self, rows: Rows) -> tuple[float, torch.Tensor]:
        loss = self._loss([self.model.preprocess(texts) for texts in self._texts(rows).values()], torch.empty(0))
        loss.backward()
        found = _gradients(self.model)
        self.model.zero_grad()
        return loss.item(), found

    def seconds(self, batches: Sequence[Rows]) -> float:
        """Train on the batches, in order; how long the updates took, without what the trainer does before them."""
        from datasets import Dataset
        from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
        from torch.utils.data import BatchSampler, SequentialSampler
        from transformers import TrainerCallback

        marks: list[float] = []

        class Clock(TrainerCallback):  # type: ignore[misc]  # transformers is Any to mypy
            def on_train_begin(self, *_: Any, **__: Any) -> None:  # noqa: ANN401  their signature
                marks.append(time.perf_counter())

            def on_step_end(self, *_: Any, **__: Any) -> None:  # noqa: ANN401  their signature
                marks.append(time.perf_counter())

        with tempfile.TemporaryDirectory() as folder:
            arguments = SentenceTransformerTrainingArguments(
                output_dir=folder, per_device_train_batch_size=len(batches[0]), max_steps=len(batches),
                learning_rate=RATE, report_to="none", save_strategy="no", logging_strategy="no", disable_tqdm=True,
                use_cpu=True, dataloader_pin_memory=False,
                batch_sampler=lambda data, batch_size, drop_last, **_: BatchSampler(
                    SequentialSampler(data), batch_size, drop_last
                ),
            )  # fmt: skip
            dataset = Dataset.from_dict(self._texts(np.concatenate(batches)))
            SentenceTransformerTrainer(
                self.model, arguments, train_dataset=dataset, loss=self._loss, callbacks=[Clock()]
            ).train()
        return marks[-1] - marks[0]


def same_start(ours: Ours, theirs: Theirs) -> None:
    """Give both the same adapters, B off zero so that every gradient counts."""
    torch.manual_seed(0)
    held = {_place(name): p for name, p in ours.model.adapted.named_parameters() if "lora_" in name}
    with torch.no_grad():
        for name, parameter in theirs.model.named_parameters():
            if "lora_" in name:
                parameter.copy_(held[_place(name)].normal_(std=0.02))


def _gradients(model: torch.nn.Module) -> torch.Tensor:
    named = {_place(name): p.grad for name, p in model.named_parameters() if "lora_" in name}
    return torch.cat([grad.flatten() for _, grad in sorted(named.items()) if grad is not None])


def _place(name: str) -> str:
    return name[name.index("encoder.layer") :]
