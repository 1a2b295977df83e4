"""The pairs that training is timed on are what they are called, and both sides read the compared batch alike."""

from __future__ import annotations

import numpy as np

from benchmarks.training import without_repeats
from benchmarks.tuning.pairs import constant_length, postings_and_profiles, titles
from benchmarks.tuning.sides import tokenised


def test_constant_length_leaves_no_padding_to_save() -> None:
    data = tokenised(constant_length(8))
    assert set(data.lengths.tolist()) == {128}
    assert len(data.lengths) == 16


def test_profiles_and_postings_are_real_texts_of_many_lengths() -> None:
    pairs = postings_and_profiles(64)
    assert len(set(pairs["query_text"].to_pylist())) == 64
    assert pairs["query_text"][0].as_py().startswith(("Headline: ", "Experience: "))
    assert pairs["document_text"][0].as_py().startswith("Title: ")
    assert len(np.unique(tokenised(pairs).lengths)) > 20


def test_the_compared_batch_repeats_no_text() -> None:
    data = tokenised(titles(300))
    rows = without_repeats(data, 1024)
    inputs = np.concatenate([data.query[rows], data.document[rows]])
    assert len(rows) == 64
    assert len(np.unique(inputs)) == 128
