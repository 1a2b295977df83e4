"""Metrics on rankings that can be checked by hand, beside scikit-learn's where it has them."""

import numpy as np
import pyarrow as pa
import pytest

from jude.evaluation import (
    auc,
    bootstrap,
    expected_calibration_error,
    log_loss,
    ndcg_at,
    paired,
    ranks_of,
    recall_at,
    reciprocal_ranks,
    spearman,
)
from jude.evaluation.intervals import gap_bridged
from jude.evaluation.titles import retrieval_of

SCORES = np.asarray([[0.9, 0.8, 0.1, 0.7], [0.5, 0.5, 0.5, 0.5]], np.float32)
RELEVANT = [np.asarray([1, 2]), np.asarray([2])]


def test_ranking_metrics() -> None:
    ranks = ranks_of(SCORES, RELEVANT)
    assert [found.tolist() for found in ranks] == [[2, 4], [3]]
    assert reciprocal_ranks(ranks).tolist() == [0.5, pytest.approx(1 / 3)]
    assert reciprocal_ranks(ranks, 2).tolist() == [0.5, 0.0]
    assert recall_at(ranks, 3).tolist() == [0.5, 1.0]
    ideal = 1 + 1 / np.log2(3)
    assert ndcg_at(ranks, 3).tolist() == pytest.approx([1 / np.log2(3) / ideal, 0.5])


def test_pair_metrics_agree_with_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(0)
    scores = random.random(200).round(1)
    labels = (random.random(200) < scores).astype(float)
    assert auc(labels, scores) == pytest.approx(sklearn.roc_auc_score(labels, scores))
    assert log_loss(labels, scores) == pytest.approx(sklearn.log_loss(labels, scores.clip(1e-7, 1 - 1e-7)))
    stats = pytest.importorskip("scipy.stats")
    assert spearman(labels, scores) == pytest.approx(stats.spearmanr(labels, scores).statistic)


def test_calibration() -> None:
    labels, probabilities = np.asarray([1.0, 0.0, 1.0, 1.0]), np.asarray([0.9, 0.9, 0.1, 0.1])
    assert expected_calibration_error(labels, probabilities, 10) == pytest.approx((0.8 + 1.8) / 4)


def test_intervals_cover_and_pairs_are_paired() -> None:
    old = np.random.default_rng(0).normal(size=400)
    assert paired(old + 0.1, old).low == pytest.approx(0.1)
    found = bootstrap(old)
    assert found.low < found.mean < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 * old.std() / 20, rel=0.1)


def test_the_gap_is_told_only_where_there_is_one() -> None:
    plain = np.random.default_rng(0).normal(size=200)
    assert gap_bridged(plain, plain + 0.5, plain + 1.0) is not None
    assert gap_bridged(plain, plain, plain - 0.1) is None
    found = gap_bridged(plain, plain + 0.5, plain + 1.0)
    assert found is not None
    assert found.mean == pytest.approx(0.5)


def test_a_collection_of_pairs_ranks_every_document() -> None:
    pairs = pa.table(
        {
            "query_text": ["a", "a", "b", "b"],
            "document_text": ["x", "y", "x", "z"],
            "query_type": ["member"] * 4,
            "document_type": ["job"] * 4,
            "label": [1.0, 1.0, 1.0, 0.0],
        }
    )
    collection = retrieval_of(pairs, ["w"])
    vectors = {"a": (1, 0), "b": (0, 1), "w": (0.6, 0.8), "x": (1, 0), "y": (0.8, 0.6)}
    found = collection.metrics(lambda _, texts: np.asarray([vectors[text] for text in texts], np.float32))
    assert collection.documents == ["w", "x", "y"]
    assert found["mrr_at_10"].tolist() == [1.0, pytest.approx(1 / 3)]
    assert found["ndcg_at_10"][0] == 1.0
