"""Metrics of labelled pairs. A score that is not a number is refused: it has no place in an order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jude.errors import TerminalTrainingError

Floats = NDArray[np.float64]


def average_ranks(values: Floats) -> Floats:
    """Rank from 1; equal values share the mean of their ranks."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    means: Floats = (last - (counts - 1) / 2)[group]
    return means


def auc(labels: Floats, scores: Floats) -> float:
    """The chance that a positive scores above a negative, ties counting half. Raises for one class only."""
    _require_numbers(labels, scores)
    positive = labels >= 0.5
    if positive.all() or not positive.any():
        raise TerminalTrainingError("AUC needs pairs of both classes.")
    ranks = average_ranks(scores)
    n = int(positive.sum())
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(labels) - n)))


def log_loss(labels: Floats, probabilities: Floats) -> float:
    """Average cross-entropy of probabilities, kept off 0 and 1 by 1e-7."""
    _require_probabilities(labels, probabilities)
    p = probabilities.clip(1e-7, 1 - 1e-7)
    return float(-(labels * np.log(p) + (1 - labels) * np.log(1 - p)).mean())


def expected_calibration_error(labels: Floats, probabilities: Floats, bins: int = 15) -> float:
    """Weighted mean of |mean label - mean probability| over equally wide bins. (Guo et al., arXiv:1706.04599)"""
    _require_probabilities(labels, probabilities)
    where = np.minimum((probabilities * bins).astype(int), bins - 1)
    gap = np.abs(np.bincount(where, labels - probabilities, minlength=bins))
    return float(gap.sum() / len(labels))


def spearman(a: Floats, b: Floats) -> float:
    """Correlation of the ranks; nan where one side is constant."""
    _require_numbers(a, b)
    x, y = average_ranks(a), average_ranks(b)
    x, y = x - x.mean(), y - y.mean()
    norm = float(np.sqrt((x**2).sum() * (y**2).sum()))
    return float((x * y).sum() / norm) if norm else float("nan")


def _require_numbers(a: Floats, b: Floats) -> None:
    if not len(a) or a.shape != b.shape:
        raise TerminalTrainingError(f"Labels and scores must be of the same pairs: there are {len(a)} and {len(b)}.")
    if np.isnan(a).any() or np.isnan(b).any():
        raise TerminalTrainingError(
            f"{int((np.isnan(a) | np.isnan(b)).sum())} of {len(a)} pairs have a label or score that is not a number: "
            "the model failed on them."
        )


def _require_probabilities(labels: Floats, probabilities: Floats) -> None:
    _require_numbers(labels, probabilities)
    if probabilities.min() < 0 or probabilities.max() > 1:
        raise TerminalTrainingError(
            f"Probabilities lie in [0, 1]; these go from {probabilities.min():.3g} to {probabilities.max():.3g}."
        )
