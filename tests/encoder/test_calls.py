"""A large batch never waits in one call."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from jude.encoder import RetryPolicy
from jude.encoder.calls import BatchEncoder
from jude.errors import TransientEncoderError

POLICY = RetryPolicy(attempts=1, backoff_seconds=0, timeout_seconds=30)


def test_a_batch_is_cut_by_tokens_and_every_input_has_its_own_vector():
    calls: list[list[int]] = []

    def encode(token_ids: Sequence[Sequence[int]]) -> np.ndarray:
        calls.append([len(ids) for ids in token_ids])
        return np.array([[ids[0], len(ids)] for ids in token_ids], np.float32)

    inputs = {f"h{n}": [n] * length for n, length in enumerate([4, 4, 3, 25, 1, 9])}
    result = BatchEncoder(encode, POLICY, 2, 10)(inputs)
    assert calls == [[1, 3, 4], [4], [9], [25]]  # by length: like texts are computed together
    assert {h: v.tolist() for h, v in result.vectors.items()} == {h: [ids[0], len(ids)] for h, ids in inputs.items()}


def test_a_bad_input_fails_alone_whichever_call_it_is_in():
    def encode(token_ids: Sequence[Sequence[int]]) -> np.ndarray:
        return np.array([[np.nan if ids[0] == 3 else 1.0] for ids in token_ids], np.float32)

    result = BatchEncoder(encode, POLICY, 1, 4)({f"h{n}": [n, n] for n in range(6)})
    assert sorted(result.failed) == ["h3"]
    assert sorted(result.vectors) == ["h0", "h1", "h2", "h4", "h5"]


def test_an_encoder_that_is_down_fails_the_batch():
    def encode(token_ids: Sequence[Sequence[int]]) -> np.ndarray:
        raise ConnectionError

    with pytest.raises(TransientEncoderError):
        BatchEncoder(encode, POLICY, 1, 2)({"h0": [1, 2], "h1": [1, 2]})


def test_nothing_to_encode_calls_nothing():
    assert BatchEncoder(lambda ids: pytest.fail("called"), POLICY, 1, 2)({}).vectors == {}


def test_a_batch_that_comes_again_pays_only_for_what_it_lacked():
    paid: list[int] = []
    goes_down_after = 2

    def encode(token_ids: Sequence[Sequence[int]]) -> np.ndarray:
        if len(paid) >= goes_down_after:
            raise ConnectionError
        paid.extend(ids[0] for ids in token_ids)
        return np.array([[ids[0]] for ids in token_ids], np.float32)

    encoder = BatchEncoder(encode, POLICY, 1, 2)
    batch = {f"h{n}": [n, n] for n in (1, 2, 3)}
    with pytest.raises(TransientEncoderError):
        encoder(batch)
    goes_down_after = 100
    again = encoder(batch)
    assert paid == [1, 2, 3]
    assert (again.kept, list(again.vectors)) == (frozenset({"h1", "h2"}), ["h1", "h2", "h3"])
    assert encoder({"h9": [9, 9]}).kept == set()
