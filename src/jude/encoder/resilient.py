"""Encode a batch whatever the encoder does: retry, find the inputs that alone fail, give the rest their vectors."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

import numpy as np
from numpy.typing import NDArray

from jude.encoder.timed import AnswerTimeoutError, call_within
from jude.errors import JudeError, TerminalError, TransientEncoderError

Encode = Callable[[Sequence[Sequence[int]]], NDArray[np.float32]]
"""Token ids in, float32 [inputs, width] out, in order; a row with NaN is an input that could not be encoded."""

Inputs = Mapping[str, Sequence[int]]

_PROBES = 5  # an encoder that refuses five short inputs is down
_LONE_VERDICTS = 8  # so many inputs may fail without a single good one beside them, before the encoder is to blame
_TIMEOUT_TRIES = 2  # a hang costs a whole time limit and a thread each


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to believe that a failure will pass."""

    attempts: int = 4  # calls with the whole batch, before it is halved
    backoff_seconds: float = 0.5  # before the second attempt; doubles with each further one
    timeout_seconds: float = 120.0  # of one call with the whole batch


@dataclass(frozen=True, slots=True)
class EncodeResult:
    """A vector or a reason for every input_hash."""

    vectors: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)  # a sentence without any text of the input
    kept: frozenset[str] = frozenset()  # whose vectors an earlier try of the same batch had made


class _BadAnswerError(TransientEncoderError):
    """The encoder answered, but not with one vector per input."""


def encode_inputs(
    encode: Encode,
    inputs: Inputs,
    policy: RetryPolicy,
    *,
    width: int | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> EncodeResult:
    """Encode input_hash -> token ids, as DESIGN "One micro-batch" wants it.

    The whole batch is tried `attempts` times with growing pauses. Then, if the encoder still answers at all, the
    batch is halved, one try each and without pauses: b bad inputs of n cost about 2 b log2 n calls. What fails alone
    is tried once more, and believed to be at fault only if the encoder works for others.

    `width`: what every vector must have; None accepts any.
    Raises TransientEncoderError when the encoder itself fails; TerminalError of the encoder passes through.
    """
    if not inputs:
        return EncodeResult()
    search = _Search(_Caller(encode, inputs, width, policy.timeout_seconds), inputs)
    bad = search.whole(policy, sleep)
    if bad:
        search.expect_alive()
        search.halve(bad)
        sleep(policy.backoff_seconds)
        search.judge()
    return EncodeResult({h: search.vectors[h] for h in inputs if h in search.vectors}, search.failed)


class _Search:
    """What is known of each input so far: a vector, a suspicion, or a verdict."""

    def __init__(self, caller: _Caller, inputs: Inputs) -> None:
        self._caller = caller
        self._inputs = inputs
        self._suspects: list[str] = []
        self._last: Exception | None = None
        self.vectors: dict[str, NDArray[np.float32]] = {}
        self.failed: dict[str, str] = {}

    def whole(self, policy: RetryPolicy, sleep: Callable[[float], None]) -> list[str]:
        """Try everything at once; give what has no vector after the last attempt."""
        timeouts = 0
        everything = list(self._inputs)
        for attempt in range(policy.attempts):
            if attempt:
                sleep(policy.backoff_seconds * 2.0 ** (attempt - 1))
            bad = self._call(everything, policy.timeout_seconds)
            if len(bad) < len(everything):  # the encoder works: NaN rows will not go away by waiting
                return bad
            timeouts += isinstance(self._last, AnswerTimeoutError)
            if timeouts == _TIMEOUT_TRIES:
                break
        return everything

    def expect_alive(self) -> None:
        """Is it the input or the encoder? Some input's first two tokens must have a vector, or this raises."""
        if self.vectors:
            return
        hashes = list(self._inputs)
        for h in hashes[:: -(-len(hashes) // _PROBES)]:
            if self._caller.answers(self._inputs[h][:2], self._caller.share([])):
                return
        raise self._encoder_fails() from self._last

    def halve(self, bad: list[str]) -> None:
        """Split what failed together until it fails alone."""
        if len(bad) == 1:
            self._suspects.append(bad[0])
            if not self.vectors and len(self._suspects) > _LONE_VERDICTS:
                raise self._encoder_fails() from self._last
            return
        # Every second one: neighbours (the same bulk edit) fail together, and the good ones should be met early.
        left, right = bad[::2], bad[1::2]
        bad_left = self._call(left, self._caller.share(left))
        if bad_left:
            self.halve(bad_left)
            right = self._call(right, self._caller.share(right))
        if right:  # a good left half needs no call to know that the right one is bad
            self.halve(right)

    def judge(self) -> None:
        """Try each suspect once more, alone and for as long as it wants; believe it only of a working encoder."""
        for suspect in self._suspects:
            if self._call([suspect], inf):
                self.failed[suspect] = self._reason()
        if not self.failed:
            return
        good = min(self.vectors, key=lambda h: len(self._inputs[h]), default=None)
        if good is None:
            self.expect_alive()
        elif not self._caller.answers(self._inputs[good], inf):
            raise self._encoder_fails() from self._last

    def _call(self, hashes: list[str], seconds: float) -> list[str]:
        """Keep the vectors of one call; give the inputs that got none."""
        try:
            rows = self._caller.call([self._inputs[h] for h in hashes], seconds)
        except TerminalError:
            raise
        except Exception as error:
            self._last = error
            return hashes
        finite = [bool(np.isfinite(row).all()) for row in rows]
        self.vectors.update((h, row) for h, row, good in zip(hashes, rows, finite, strict=True) if good)
        bad = [h for h, good in zip(hashes, finite, strict=True) if not good]
        self._last = _BadAnswerError("The encoder gave NaN or infinity.") if bad else self._last
        return bad

    def _reason(self) -> str:
        """The last failure without any text of an input: a foreign message may quote what it choked on."""
        match self._last:
            case JudeError() as error:
                return f"This input alone fails. {error}"
            case error:
                return f"This input alone fails: the encoder raised {type(error).__name__}."

    def _encoder_fails(self) -> TransientEncoderError:
        what = str(self._last) if isinstance(self._last, JudeError) else f"{type(self._last).__name__}: {self._last}"
        return TransientEncoderError(
            f"The encoder fails for all of {len(self._inputs)} inputs; the last error was: {what} "
            "The batch will be tried again; see the encoder's own log if this stays."
        )


class _Caller:
    """Calls the encoder within a time limit, and accepts nothing but one vector per input."""

    def __init__(self, encode: Encode, inputs: Inputs, width: int | None, timeout_seconds: float) -> None:
        self._encode = encode
        self._lengths = {h: len(ids) for h, ids in inputs.items()}
        self._tokens = max(1, sum(self._lengths.values()))
        self._width = width
        self._timeout_seconds = timeout_seconds

    def share(self, hashes: Sequence[str]) -> float:
        """Less time for fewer tokens, so that finding one hanging input costs about two time limits, not log2 n."""
        return self._timeout_seconds * max(1 / 8, sum(self._lengths[h] for h in hashes) / self._tokens)

    def call(self, token_ids: Sequence[Sequence[int]], seconds: float) -> NDArray[np.float32]:
        rows = call_within(min(seconds, self._timeout_seconds), self._encode, token_ids)
        found = f"{rows.dtype} {list(rows.shape)}" if isinstance(rows, np.ndarray) else type(rows).__name__
        width = self._width or (rows.shape[1] if isinstance(rows, np.ndarray) and rows.ndim == 2 else "width")
        expected = f"float32 {[len(token_ids), width]}"
        if found != expected:
            raise _BadAnswerError(f"The encoder gave {found}, expected {expected}.")
        return rows

    def answers(self, token_ids: Sequence[int], seconds: float) -> bool:
        """Whether this one input has a vector."""
        try:
            return bool(np.isfinite(self.call([token_ids], seconds)).all())
        except TerminalError:
            raise
        except Exception:
            return False
