"""Pairs that somebody has judged: does the cosine order them, and can it be read as a chance?"""

# N pairs, D width

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from jude.evaluation.encoding import Encode
from jude.evaluation.pairs import auc, expected_calibration_error, spearman
from jude.evaluation.titles import Retrieval

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_FOLDS: Final = 2


@dataclass(frozen=True, slots=True)
class Judged:
    """Pairs with a label in [0, 1] each: 0 and 1 alone are classes, anything between is a grade."""

    first: list[str]
    second: list[str]
    labels: Floats
    first_type: str
    second_type: str

    def score(self, encode: Encode) -> Scored:
        """Give the cosine of each pair."""
        first_ND, second_ND = encode(self.first_type, self.first), encode(self.second_type, self.second)
        return Scored(self.labels, np.einsum("nd,nd->n", first_ND, second_ND).astype(np.float64))


@dataclass(frozen=True, slots=True)
class Scored:
    """What a model says of judged pairs."""

    labels: Floats
    cosines: Floats

    def statistics(self) -> dict[str, Callable[[Ints], float]]:
        """Name what can be told of any rows: AUC and calibration of classes, the rank correlation of grades."""
        labels, cosines = self.labels, self.cosines
        if not np.isin(labels, (0.0, 1.0)).all():
            return {"spearman": lambda rows: spearman(labels[rows], cosines[rows])}
        chances = calibrated(labels, cosines)
        return {
            "auc": lambda rows: _auc_if_both(labels[rows], cosines[rows]),
            "ece": lambda rows: expected_calibration_error(labels[rows], chances[rows]),
        }


def with_negatives(retrieval: Retrieval, seed: int = 0) -> Judged:
    """Take every relevant pair, and for each one a document drawn from all that the query does not mean."""
    random = np.random.default_rng(seed)
    rows: list[tuple[str, str, float]] = []
    for query, relevant in zip(retrieval.queries, retrieval.relevant, strict=True):
        others = np.setdiff1d(np.arange(len(retrieval.documents)), relevant)
        drawn = random.choice(others, min(len(relevant), len(others)), replace=False)
        rows += [(query, retrieval.documents[row], 1.0) for row in relevant]
        rows += [(query, retrieval.documents[row], 0.0) for row in drawn]
    first, second, labels = zip(*rows, strict=True)
    return Judged(list(first), list(second), np.asarray(labels), retrieval.query_type, retrieval.document_type)


def calibrated(labels: Floats, cosines: Floats) -> Floats:
    """Turn cosines into probabilities by a logistic scale and bias (Platt, 1999), fitted on the other half.

    A cosine is no chance by itself: what is measured is how well one can be made of it.
    """
    fold_N = np.random.default_rng(0).permutation(len(labels)) % _FOLDS
    chances_N = np.empty(len(labels))
    for fold in range(_FOLDS):
        scale, bias = _logistic(labels[fold_N != fold], cosines[fold_N != fold])
        chances_N[fold_N == fold] = _sigmoid(scale * cosines[fold_N == fold] + bias)
    return chances_N


def _logistic(labels: Floats, cosines: Floats) -> tuple[float, float]:
    """Fit by Newton's method; the ridge keeps the scale finite where the classes do not overlap."""
    inputs_N2 = np.stack([cosines, np.ones(len(cosines))], axis=1)
    ridge_22, weights_2 = np.diag([1e-2, 1e-6]), np.zeros(2)
    for _ in range(50):
        chance_N = _sigmoid(inputs_N2 @ weights_2)
        slope_2 = inputs_N2.T @ (labels - chance_N) - ridge_22 @ weights_2
        curve_22 = (inputs_N2 * (chance_N * (1 - chance_N))[:, None]).T @ inputs_N2 + ridge_22
        weights_2 = weights_2 + np.linalg.solve(curve_22, slope_2)
    return float(weights_2[0]), float(weights_2[1])


def _sigmoid(logits: Floats) -> Floats:
    found: Floats = 1 / (1 + np.exp(-logits.clip(-60, 60)))
    return found


def _auc_if_both(labels: Floats, cosines: Floats) -> float:
    """A resample may hold one class only, and tells nothing then."""
    return auc(labels, cosines) if 0 < labels.sum() < len(labels) else float("nan")
