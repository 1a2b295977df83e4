"""Every way in which an encoder lets a batch down. Inputs are numbered; an input's first token is its number."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from math import log2
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from jude.encoder import EncodeResult, RetryPolicy, encode_inputs
from jude.errors import TerminalSettingsError, TransientEncoderError

POLICY = RetryPolicy(attempts=3, backoff_seconds=1.0, timeout_seconds=60.0)
QUICK = RetryPolicy(attempts=3, backoff_seconds=0.0, timeout_seconds=0.4)
WIDTH = 4
FILLER = 10_000  # the second and third token of every input

Ids = Sequence[Sequence[int]]


def numbered(count: int) -> dict[str, tuple[int, ...]]:
    return {f"h{n}": (FILLER, FILLER, n) for n in range(count)}


def right_answer(token_ids: Ids) -> NDArray[np.float32]:
    return np.array([[ids[-1], 1, 2, 3] for ids in token_ids], np.float32).reshape(len(token_ids), WIDTH)


class Encoder:
    """Does right, but for some inputs. Counts its calls."""

    def __init__(self, *, raises: Sequence[int] = (), nan: Sequence[int] = (), hangs: Sequence[int] = ()) -> None:
        self.raises, self.nan, self.hangs = set(raises), set(nan), set(hangs)
        self.released = threading.Event()
        self.sizes: list[int] = []

    def __call__(self, token_ids: Ids) -> NDArray[np.float32]:
        self.sizes.append(len(token_ids))
        numbers = {ids[-1] for ids in token_ids}
        if numbers & self.hangs:
            self.released.wait(60)
        if numbers & self.raises:
            raise RuntimeError("CUDA error while reading 'Jane Doe, nurse'")
        answer = right_answer(token_ids)
        answer[[ids[-1] in self.nan for ids in token_ids], 1] = np.nan
        return answer


class Flaky(Encoder):
    """Fails the first calls, whatever they ask."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self._left = failures

    def __call__(self, token_ids: Ids) -> NDArray[np.float32]:
        self._left -= 1
        if self._left >= 0:
            self.sizes.append(len(token_ids))
            raise ConnectionError("connection reset")
        return super().__call__(token_ids)


@pytest.fixture
def hanging() -> Iterator[Encoder]:
    encoder = Encoder(hangs=[2])
    yield encoder
    encoder.released.set()


def encode(encoder: Any, count: int, policy: RetryPolicy = POLICY, **more: Any) -> EncodeResult:
    return encode_inputs(encoder, numbered(count), policy, **{"sleep": lambda seconds: None, **more})


def numbers(result: EncodeResult) -> list[int]:
    return [int(vector[0]) for vector in result.vectors.values()]


def test_a_good_batch_is_one_call() -> None:
    encoder = Encoder()
    result = encode(encoder, 3)
    assert encoder.sizes == [3]
    assert {h: vector.tolist() for h, vector in result.vectors.items()} == {
        "h0": [0, 1, 2, 3],
        "h1": [1, 1, 2, 3],
        "h2": [2, 1, 2, 3],
    }
    assert result.failed == {}


def test_nothing_to_do_is_no_call() -> None:
    encoder = Encoder()
    assert encode(encoder, 0) == EncodeResult({}, {})
    assert encoder.sizes == []


def test_a_passing_failure_is_retried_with_growing_pauses() -> None:
    pauses: list[float] = []
    encoder = Flaky(failures=2)
    assert numbers(encode(encoder, 3, sleep=pauses.append)) == [0, 1, 2]
    assert encoder.sizes == [3, 3, 3]
    assert pauses == [1.0, 2.0]


def test_one_input_that_raises_is_named_and_the_rest_have_vectors() -> None:
    result = encode(Encoder(raises=[5]), 8)
    assert numbers(result) == [0, 1, 2, 3, 4, 6, 7]
    assert result.failed == {"h5": "This input alone fails: the encoder raised RuntimeError."}


def test_the_reason_does_not_quote_the_text() -> None:
    [reason] = encode(Encoder(raises=[1]), 2).failed.values()
    assert "Jane" not in reason


def test_one_input_that_gives_nan_is_named_and_the_rest_have_vectors() -> None:
    encoder = Encoder(nan=[1])
    result = encode(encoder, 4)
    assert numbers(result) == [0, 2, 3]
    assert result.failed == {"h1": "This input alone fails. The encoder gave NaN or infinity."}
    assert encoder.sizes == [4, 1, 1]  # the input again, alone; a control; the vectors of the first call were kept


def test_one_input_that_hangs_is_named_and_the_rest_have_vectors(hanging: Encoder) -> None:
    result = encode(hanging, 6, QUICK)
    assert numbers(result) == [0, 1, 3, 4, 5]
    assert result.failed == {"h2": "This input alone fails. The encoder gave no answer within 0.4 seconds."}


def test_a_lone_bad_input_does_not_block_the_stream_for_ever() -> None:
    """The encoder still reads its first tokens, so it is alive: the input is to blame."""
    assert encode(Encoder(raises=[0]), 1).failed == {"h0": "This input alone fails: the encoder raised RuntimeError."}


def test_an_encoder_that_raises_for_everything_fails_the_batch() -> None:
    calls: list[int] = []

    def down(token_ids: Ids) -> NDArray[np.float32]:
        calls.append(len(token_ids))
        raise ConnectionError("connection refused")

    with pytest.raises(TransientEncoderError, match=r"fails for all of 1000 inputs.*connection refused"):
        encode(down, 1000)
    assert calls == [1000] * 3 + [1] * 5  # the attempts, then a few short ones: an outage is no reason to halve


def test_an_encoder_that_gives_nan_for_everything_fails_the_batch() -> None:
    with pytest.raises(TransientEncoderError, match="NaN"):
        encode(lambda token_ids: right_answer(token_ids) * np.float32(np.nan), 20)


def test_an_encoder_that_hangs_for_everything_fails_the_batch() -> None:
    released = threading.Event()

    def hang(token_ids: Ids) -> NDArray[np.float32]:
        released.wait(60)
        return right_answer(token_ids)

    with pytest.raises(TransientEncoderError, match=r"no answer within 0.0\d+ seconds|no answer within 0.2 seconds"):
        encode(hang, 20, RetryPolicy(attempts=4, backoff_seconds=0.0, timeout_seconds=0.2))
    released.set()


def test_many_bad_inputs_without_a_good_one_are_the_encoders_fault() -> None:
    """Reads two tokens but no text: out of memory, not five hundred bad texts."""
    encoder = Encoder(raises=range(500))
    with pytest.raises(TransientEncoderError, match="fails for all of 500 inputs"):
        encode(encoder, 500)
    assert len(encoder.sizes) < 40


def test_an_encoder_that_goes_down_while_halving_fails_the_batch() -> None:
    """Good inputs must not be quarantined for an outage that began after the first bad one was met."""
    encoder = Encoder(raises=[3])

    def going_down(token_ids: Ids) -> NDArray[np.float32]:
        if len(encoder.sizes) > 8:
            encoder.raises = set(range(10_001))
        return encoder(token_ids)

    with pytest.raises(TransientEncoderError):
        encode(going_down, 64)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda ids: right_answer(ids)[:, :3], r"gave float32 \[\d, 3\], expected float32 \[\d, 4\]"),
        (lambda ids: np.zeros((len(ids) + 1, 4), np.float32), r"gave float32 \[\d, 4\], expected float32 \[\d, 4\]"),
        (lambda ids: right_answer(ids).astype(np.float64), r"gave float64 \[\d, 4\], expected float32 \[\d, 4\]"),
        (lambda ids: right_answer(ids)[0], r"gave float32 \[4\], expected float32 \[\d, 4\]"),
        (lambda ids: right_answer(ids).tolist(), r"gave list, expected float32 \[\d, 4\]"),
        (lambda ids: None, r"gave NoneType, expected float32 \[\d, 4\]"),
    ],
    ids=["width", "count", "dtype", "flat", "list", "none"],
)
def test_an_answer_that_is_not_vectors_fails_the_batch_and_says_what_was_expected(answer: object, says: str) -> None:
    with pytest.raises(TransientEncoderError, match=says):
        encode(answer, 3, width=WIDTH)


def test_a_wrong_count_for_one_input_only_is_that_inputs_fault() -> None:
    def two_rows_for_one(token_ids: Ids) -> NDArray[np.float32]:
        answer = right_answer(token_ids)
        return np.concatenate([answer, answer[answer[:, 0] == 2]])

    result = encode(two_rows_for_one, 5)
    assert numbers(result) == [0, 1, 3, 4]
    assert result.failed == {"h2": "This input alone fails. The encoder gave float32 [2, 4], expected float32 [1, 4]."}


def test_a_terminal_error_passes_at_once() -> None:
    calls: list[int] = []

    def wrong_settings(token_ids: Ids) -> NDArray[np.float32]:
        calls.append(len(token_ids))
        raise TerminalSettingsError("no such model")

    with pytest.raises(TerminalSettingsError, match="no such model"):
        encode(wrong_settings, 5)
    assert calls == [5]


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 300), st.data())
def test_all_bad_inputs_are_found_in_few_calls_and_no_good_one_is_blamed(count: int, data: st.DataObject) -> None:
    few = st.lists(st.integers(0, count - 1), max_size=min(6, max(1, count // 4)), unique=True)
    raises, nan = data.draw(few), data.draw(few)
    encoder = Encoder(raises=raises, nan=nan)
    pauses: list[float] = []
    result = encode(encoder, count, sleep=pauses.append)
    bad = set(raises) | set(nan)
    assert set(result.failed) == {f"h{n}" for n in bad}
    assert numbers(result) == [n for n in range(count) if n not in bad]
    assert len(encoder.sizes) <= POLICY.attempts + 6 + 2 * len(bad) * (log2(count) + 2)
    assert len(pauses) <= POLICY.attempts


def test_hanging_calls_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jude.encoder.timed._MOST_ABANDONED", 3)
    released = threading.Event()
    before = threading.active_count()
    with pytest.raises(TransientEncoderError):
        encode(lambda ids: released.wait(60), 50, RetryPolicy(attempts=9, backoff_seconds=0.0, timeout_seconds=0.05))
    assert threading.active_count() - before <= 3
    with pytest.raises(TransientEncoderError, match=r"3 calls of the encoder hang in this process\. Restart it"):
        encode(Encoder(), 2)
    released.set()
    while threading.active_count() > before:
        time.sleep(0.01)
    assert numbers(encode(Encoder(), 2)) == [0, 1]
