"""Metrics on rankings that can be checked by hand, beside scikit-learn's where it has them."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from jude.errors import TerminalTrainingError
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
from jude.evaluation.intervals import bootstrap_of, gap_bridged, sign_flip
from jude.evaluation.judged import calibrated
from jude.evaluation.ranking import average_precision, first_of, overlap
from jude.evaluation.titles import Retrieval, retrieval_of

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
    from scipy import stats
    from sklearn import metrics

    random = np.random.default_rng(0)
    scores = random.random(200).round(1)
    labels = (random.random(200) < scores).astype(float)
    assert auc(labels, scores) == pytest.approx(metrics.roc_auc_score(labels, scores))
    assert log_loss(labels, scores) == pytest.approx(metrics.log_loss(labels, scores.clip(1e-7, 1 - 1e-7)))
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


def test_many_queries_are_resampled_as_few_are() -> None:
    """A block of draws is as large as memory allows; the numbers do not depend on it."""
    values = np.random.default_rng(0).normal(size=9_000)  # 444 resamples at a time
    random = np.random.default_rng(0)
    means = random.multinomial(9_000, np.full(9_000, 1 / 9_000), size=500) @ values / 9_000
    found = bootstrap(values, resamples=500)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))


def test_random_signs_tell_a_difference_from_none() -> None:
    old = np.random.default_rng(0).normal(size=100)
    assert sign_flip(old + 0.5, old) == pytest.approx(1 / 10_001)
    noise = np.random.default_rng(1).normal(size=100)
    assert sign_flip(old + noise - noise.mean(), old) > 0.5
    assert sign_flip(old, old) == 1.0


def test_a_statistic_that_is_no_mean_has_an_interval() -> None:
    labels = np.asarray([0.0, 1.0] * 100)
    scores = labels + np.random.default_rng(0).normal(size=200)
    found = bootstrap_of(lambda rows: auc(labels[rows], scores[rows]), 200)
    assert found.low < auc(labels, scores) == found.mean < found.high


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (lambda: bootstrap(np.asarray([np.nan])), "nothing to measure"),
        (lambda: paired(np.zeros(3), np.zeros(1)), "there are 3 and 1 of them"),
        (lambda: auc(np.asarray([0.0, 1.0]), np.asarray([0.1, np.nan])), "1 of 2 pairs"),
        (lambda: spearman(np.asarray([np.nan, 1.0]), np.asarray([0.1, 0.2])), "1 of 2 pairs"),
        (lambda: expected_calibration_error(np.zeros(2), np.asarray([0.1, 1.2])), "go from 0.1 to 1.2"),
        (lambda: log_loss(np.zeros(2), np.asarray([-0.5, 0.2])), "go from -0.5 to 0.2"),
        (lambda: ranks_of(np.asarray([[0.1, np.nan]], np.float32), [np.asarray([0])]), "not a number"),
        (lambda: retrieval_of(pa.table({"label": [0.0], "query_type": ["a"], "document_type": ["b"]})), "no pair has"),
    ],
)
def test_what_cannot_be_measured_is_refused(broken: Callable[[], object], says: str) -> None:
    with pytest.raises(TerminalTrainingError, match=says):
        broken()


def test_a_query_without_a_relevant_document_has_no_number() -> None:
    ranks = ranks_of(SCORES, [np.asarray([1]), np.asarray([], int)])
    for metric in (reciprocal_ranks(ranks), ndcg_at(ranks, 10), recall_at(ranks, 10), average_precision(ranks)):
        assert np.isnan(metric[1])
        assert metric[0] > 0


def test_average_precision_by_hand() -> None:
    assert average_precision([np.asarray([1, 3])]).tolist() == [pytest.approx((1 + 2 / 3) / 2)]


def test_models_that_find_the_same_overlap() -> None:
    new, old = first_of(SCORES, 2), first_of(SCORES[:, ::-1], 2)
    assert new.tolist() == [[0, 1], [0, 1]]
    assert overlap(new, old).tolist() == [0.0, 1.0]


def test_a_calibrated_chance_is_near_the_truth() -> None:
    random = np.random.default_rng(0)
    cosines = random.uniform(-1, 1, 4000)
    truth = 1 / (1 + np.exp(-(4 * cosines - 1)))
    labels = (random.random(4000) < truth).astype(float)
    assert np.abs(calibrated(labels, cosines) - truth).max() < 0.05


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


@pytest.mark.parametrize("documents", [7, 33, 100, 305, 1003])
def test_copies_of_a_document_keep_their_order(documents: int) -> None:
    """A product of matrices rounds the same column differently at another place."""
    random = np.random.default_rng(0)
    names = [f"d{n}" for n in range(documents - 1)] + ["d0"]
    vectors = {name: random.normal(size=384).astype(np.float32) for name in names}
    queries = [f"q{n}" for n in range(51)]
    vectors |= {name: vectors["d0"] + random.normal(0, 0.1, 384).astype(np.float32) for name in queries}
    for count in (1, 2, 51):
        last = [np.asarray([documents - 1])] * count
        collection = Retrieval(queries[:count], names, last, "", "")
        found = collection.metrics(lambda _, texts: np.stack([vectors[text] for text in texts]))
        assert found["mrr"].tolist() == [0.5] * count
