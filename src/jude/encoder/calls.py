"""A batch of any size in calls of a bounded one: a time limit means something only for a bounded amount of work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from jude.encoder.resilient import Encode, EncodeResult, RetryPolicy, encode_inputs

PASSES_PER_CALL = 32  # of 2,048 tokens: 25 seconds of MiniLM on one slow core, a fifth of the default time limit


def encode_in_calls(
    encode: Encode, policy: RetryPolicy, width: int, call_tokens: int, inputs: Mapping[str, Sequence[int]]
) -> EncodeResult:
    """Encode input_hash -> token ids, at most `call_tokens` tokens (and at least one input) in each call.

    Raises TransientEncoderError when a call gives nothing at all.
    """
    result = EncodeResult()
    for part in _parts(inputs, call_tokens):
        encoded = encode_inputs(encode, part, policy, width=width)
        result.vectors.update(encoded.vectors)
        result.failed.update(encoded.failed)
    return result


def _parts(inputs: Mapping[str, Sequence[int]], call_tokens: int) -> Iterator[dict[str, Sequence[int]]]:
    part: dict[str, Sequence[int]] = {}
    tokens = 0
    for input_hash, token_ids in inputs.items():
        if part and tokens + len(token_ids) > call_tokens:
            yield part
            part, tokens = {}, 0
        part[input_hash] = token_ids
        tokens += len(token_ids)
    if part:
        yield part
