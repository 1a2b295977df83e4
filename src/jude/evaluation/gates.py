"""What must hold before a model serves: each gate says what it measured, and refuses with the reason."""

# N texts, D width

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from jude.errors import TerminalTrainingError
from jude.evaluation.intervals import Interval

Vectors = NDArray[np.float32]

LEAST_TEXTS: Final = 256
MOST_MERGE_ERROR: Final = 1e-5
LEAST_COSINE: Final = 0.999  # a bfloat16 save of a strong adapter fell to 0.9974
MOST_NDCG_LOSS: Final = 0.002
MOST_RELEASE_LOSS: Final = 0.01
LEAST_QUERIES: Final = 30  # resamples of a few are nearly all the same: their interval is narrow for no reason


def require_gain(gain: Interval) -> Interval:
    """Give the interval of next - current nDCG@10. Raises TerminalTrainingError where it may have lost 0.01."""
    if not gain.low >= -MOST_RELEASE_LOSS:
        raise TerminalTrainingError(
            f"The release gate is shut: nDCG@10 changed by {gain}, and its lower bound must be at least "
            f"-{MOST_RELEASE_LOSS}. Measure more queries if the interval is wide, or keep the current model."
        )
    return gain


def require_queries(name: str, count: int) -> None:
    """Raise TerminalTrainingError where a set has fewer queries than an interval can be told from."""
    if count < LEAST_QUERIES:
        raise TerminalTrainingError(
            f"The release gate is shut: {name} has {count} queries, and an interval needs {LEAST_QUERIES} at least. "
            "Measure on more."
        )


def require_merge(adapter_ND: Vectors, merged_ND: Vectors) -> float:
    """Give the largest difference of a float32 merge to the model with its adapter beside it.

    Raises TerminalTrainingError past 1e-5, or for fewer than 256 texts.
    """
    _require_texts(adapter_ND, merged_ND)
    error = float(np.abs(adapter_ND - merged_ND).max())
    if not error <= MOST_MERGE_ERROR:
        raise TerminalTrainingError(
            f"The merge gate is shut: merged vectors differ by {error:.2e}, up to {MOST_MERGE_ERROR:.0e} is rounding. "
            "The adapter belongs to another base, or was merged twice."
        )
    return error


def require_serving(adapter_ND: Vectors, served_ND: Vectors, adapter_ndcg: float, served_ndcg: float) -> float:
    """Give the least cosine of the merge in the dtype that serves to the float32 adapter.

    Raises TerminalTrainingError below 0.999, or where nDCG@10 differs by more than 0.002.
    """
    _require_texts(adapter_ND, served_ND)
    norms = np.linalg.norm(adapter_ND, axis=1) * np.linalg.norm(served_ND, axis=1)
    cosine = float(((adapter_ND * served_ND).sum(axis=1) / norms).min())
    lost = abs(served_ndcg - adapter_ndcg)
    if not (cosine >= LEAST_COSINE and lost <= MOST_NDCG_LOSS):
        raise TerminalTrainingError(
            f"The merge gate is shut: in the serving dtype the least cosine is {cosine:.5f} (at least {LEAST_COSINE}) "
            f"and nDCG@10 differs by {lost:.4f} (at most {MOST_NDCG_LOSS}). Serve this version in float32."
        )
    return cosine


def require_same(served_ND: Vectors, theirs_ND: Vectors, compute: str) -> float:
    """Give the largest difference of what is served to what sentence-transformers makes of the same folder.

    Raises TerminalTrainingError past rounding: 1e-5 in float32, a cosine of 0.999 in bfloat16.
    """
    _require_texts(served_ND, theirs_ND)
    error = float(np.abs(served_ND - theirs_ND).max())
    cosine = float((served_ND * theirs_ND).sum(axis=1).min())
    if not (error <= MOST_MERGE_ERROR if compute == "float32" else cosine >= LEAST_COSINE):
        raise TerminalTrainingError(
            f"The merge gate is shut: sentence-transformers makes other vectors of this folder (they differ by "
            f"{error:.2e}, least cosine {cosine:.5f}). Pooling, length or tokeniser of the folder are not the model's, "
            "or it is a decoder that reads in both directions, which sentence-transformers does not know."
        )
    return error


def require_remembered(name: str, new: float, old: float, most_lost: float) -> float:
    """Give new - old of a set that must not be forgotten. Raises TerminalTrainingError where it fell by more."""
    if not new - old >= -most_lost:
        raise TerminalTrainingError(
            f"The forgetting gate is shut: {name} fell from {old:.4f} to {new:.4f}, by more than {most_lost:g}. "
            "Train with a lower lr, fewer updates or pairs of other kinds mixed in; or allow more, and say so."
        )
    return new - old


def _require_texts(a_ND: Vectors, b_ND: Vectors) -> None:
    if len(a_ND) < LEAST_TEXTS or a_ND.shape != b_ND.shape:
        raise TerminalTrainingError(
            f"The merge gate needs {LEAST_TEXTS} texts or more in both models; it got {a_ND.shape} and {b_ND.shape}."
        )
