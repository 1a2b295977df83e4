"""A model and its sets come in, numbers with intervals go out: `sets` opens them, `report` measures and compares.

The metrics (`ranking`, `pairs`) and `intervals` are plain numpy; `gates` and `parity` hold a release to its training.
"""

from jude.evaluation.intervals import Interval, bootstrap, paired
from jude.evaluation.pairs import auc, expected_calibration_error, log_loss, spearman
from jude.evaluation.ranking import mean_ndcg, ndcg_at, ranks_of, recall_at, reciprocal_ranks

__all__ = [
    "Interval",
    "auc",
    "bootstrap",
    "expected_calibration_error",
    "log_loss",
    "mean_ndcg",
    "ndcg_at",
    "paired",
    "ranks_of",
    "recall_at",
    "reciprocal_ranks",
    "spearman",
]
