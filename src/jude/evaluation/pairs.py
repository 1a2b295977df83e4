"""Metrics of labelled pairs."""

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
    positive = labels >= 0.5
    if positive.all() or not positive.any():
        raise TerminalTrainingError("AUC needs pairs of both classes.")
    ranks = average_ranks(scores)
    n = int(positive.sum())
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(labels) - n)))


def log_loss(labels: Floats, probabilities: Floats) -> float:
    """Average cross-entropy of probabilities, kept off 0 and 1 by 1e-7."""
    p = probabilities.clip(1e-7, 1 - 1e-7)
    return float(-(labels * np.log(p) + (1 - labels) * np.log(1 - p)).mean())


def expected_calibration_error(labels: Floats, probabilities: Floats, bins: int = 15) -> float:
    """Weighted mean of |mean label - mean probability| over equally wide bins. (Guo et al., arXiv:1706.04599)"""
    where = np.minimum((probabilities * bins).astype(int), bins - 1)
    count = np.bincount(where, minlength=bins)
    gap = np.abs(np.bincount(where, labels - probabilities, minlength=bins))
    return float(gap.sum() / max(1, count.sum()))


def spearman(a: Floats, b: Floats) -> float:
    """Correlation of the ranks; nan where one side is constant."""
    x, y = average_ranks(a), average_ranks(b)
    x, y = x - x.mean(), y - y.mean()
    norm = float(np.sqrt((x**2).sum() * (y**2).sum()))
    return float((x * y).sum() / norm) if norm else float("nan")
