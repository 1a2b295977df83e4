"""Every term of the loss on the global batch, from the vectors of its inputs."""

# U distinct inputs of the batch, D width, B pairs, M predicates, L candidate lists, K candidates of a list

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, normalize

from jude.errors import TerminalTrainingError
from jude.training.data.batches import Batch
from jude.training.data.negatives import POSITIVE
from jude.training.data.tokenised import TokenisedPairs
from jude.training.heads import Temperature, head_of
from jude.training.losses import bce, distillation_kl, info_nce, margin_mse, vp
from jude.training.predicates import predicate_columns
from jude.training.settings import LossSettings

Term = Callable[[Tensor, Batch], Tensor]
Floats = NDArray[np.float32]


class Objective(nn.Module):
    """The heads, and what they are trained by. Always float32."""

    def __init__(self, loss: LossSettings, data: TokenisedPairs, width: int) -> None:
        """Raises TerminalTrainingError where the pairs lack what a term needs."""
        super().__init__()
        base_rate = float(data.label.mean())
        self.head = head_of(loss.head, width, base_rate)
        self.temperature = Temperature(loss.temperature, learned=loss.learn_temperature)
        self.weights = loss.weights()
        self._loss = loss
        self._predicates_NM, self._teacher_N = beside_labels(data.pairs, loss)

    def forward(self, vectors_UD: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Compute the terms that have a weight, by name. Cosines and logits in float32, whatever autocast says."""
        with torch.autocast(vectors_UD.device.type, enabled=False):
            return {name: self._terms[name](vectors_UD, batch) for name in self.weights}

    @property
    def _terms(self) -> Mapping[str, Term]:
        return {"bce": self._bce, "nce": self._nce, "vp": self._vp_term, "kd": self._kd, "margin": self._margin}

    def trained(self) -> list[nn.Parameter]:
        """Give the parameters that the terms reach."""
        used = self.weights.keys()
        head = list(self.head.parameters()) if used & {"bce", "vp"} else []
        temperature = [self.temperature.log_value] if used & {"nce", "kd"} and self._loss.learn_temperature else []
        return head + temperature

    def _bce(self, vectors_UD: Tensor, batch: Batch) -> Tensor:
        return bce(self._logits(vectors_UD, batch), _on(vectors_UD, batch.label))

    def _nce(self, vectors_UD: Tensor, batch: Batch) -> Tensor:
        if not len(batch.positive):
            return vectors_UD.sum() * 0  # a batch without a positive has nothing to tell apart
        return info_nce(
            vectors_UD[_on(vectors_UD, batch.query[batch.positive])],
            vectors_UD[_on(vectors_UD, batch.candidates)],
            _on(vectors_UD, batch.own),
            self.temperature(),
            _on(vectors_UD, batch.masked),
            symmetric=self._loss.symmetric,
        )

    def _vp_term(self, vectors_UD: Tensor, batch: Batch) -> Tensor:
        points = None
        if self._loss.vp.form == "kernel":
            queries, documents = self._sides(vectors_UD.detach(), batch)
            points = normalize(normalize(queries, dim=1) * normalize(documents, dim=1), dim=1)
        assert self._predicates_NM is not None
        predicates_BM = _on(vectors_UD, self._predicates_NM[batch.rows])
        logits_B, labels_B = self._logits(vectors_UD, batch), _on(vectors_UD, batch.label)
        return vp(logits_B, labels_B, self._loss.vp, predicates_BM=predicates_BM, points_BK=points)

    def _kd(self, vectors_UD: Tensor, batch: Batch) -> Tensor:
        student_LK, teacher_LK, present_LK = self._lists(vectors_UD, batch)
        return distillation_kl(
            student_LK,
            teacher_LK,
            present_LK,
            student_temperature=self.temperature(),
            teacher_temperature=self._loss.teacher_temperature,
        )

    def _margin(self, vectors_UD: Tensor, batch: Batch) -> Tensor:
        student_LK, teacher_LK, present_LK = self._lists(vectors_UD, batch)
        matched_L = batch.label[batch.lists[:, 0]] >= POSITIVE  # a list without a label has no margin
        return margin_mse(student_LK, torch.sigmoid(teacher_LK), present_LK & _on(vectors_UD, matched_L)[:, None])

    def _lists(self, vectors_UD: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Lay the batch's pairs out by their lists: the student's cosines, the teacher's scores, which are there."""
        assert self._teacher_N is not None
        cosine_B = cosine_similarity(*self._sides(vectors_UD, batch), dim=1)
        present = batch.lists >= 0
        return (
            cosine_B[_on(vectors_UD, batch.lists.clip(min=0))],
            _on(vectors_UD, self._teacher_N[batch.rows][batch.lists.clip(min=0)]),
            _on(vectors_UD, present),
        )

    def _logits(self, vectors_UD: Tensor, batch: Batch) -> Tensor:
        logits_B: Tensor = self.head(*self._sides(vectors_UD, batch))
        return logits_B

    @staticmethod
    def _sides(vectors_UD: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        return vectors_UD[_on(vectors_UD, batch.query)], vectors_UD[_on(vectors_UD, batch.document)]


def _on(like: Tensor, values: NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(like.device)


def beside_labels(pairs: pa.Table, loss: LossSettings) -> tuple[Floats | None, Floats | None]:
    """Read what terms need beside labels: the predicates of VP [N, M], the scores of a teacher [N].

    Raises TerminalTrainingError where the pairs lack it.
    """
    terms = loss.weights().keys()
    return (
        predicate_columns(pairs, loss.vp.predicates) if "vp" in terms else None,
        _teacher_scores(pairs) if {"kd", "margin"} & terms else None,
    )


def _teacher_scores(pairs: pa.Table) -> Floats:
    if "teacher_score" not in pairs.column_names:
        raise TerminalTrainingError(
            "loss.kd or loss.margin is above 0, and the pairs have no column teacher_score. "
            "Score them (jobs/score_pairs.py) and name the table in phases.scores."
        )
    scores: Floats = pairs["teacher_score"].to_numpy().astype(np.float32)
    if unknown := int((~np.isfinite(scores)).sum()):
        raise TerminalTrainingError(f"{unknown} of {len(scores)} pairs have a teacher_score that is no number.")
    return scores
