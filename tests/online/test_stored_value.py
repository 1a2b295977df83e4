from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jude.online.value import decode_value, encode_value


def test_the_layout_is_fixed() -> None:
    one = b"\x00\x00\x80\x3f"
    assert encode_value(one, "float32", 1) == b"\x01\x01\x01\x00\x00\x00" + one
    assert encode_value(b"\x80\x3f" * 300, "bfloat16", 300)[:6] == b"\x01\x02\x2c\x01\x00\x00"


@given(st.sampled_from([("float32", 4), ("bfloat16", 2)]), st.integers(1, 64), st.randoms())
def test_decoding_undoes_encoding(kind: tuple[str, int], dim: int, random: Random) -> None:
    dtype, width = kind
    vector = random.randbytes(dim * width)
    assert decode_value(encode_value(vector, dtype, dim)) == (vector, dtype, dim)


@pytest.mark.parametrize(
    ("vector", "dtype", "dim", "sentence"),
    [
        (b"\x00" * 8, "float32", 3, "has 12 bytes"),
        (b"", "float32", 0, "width at least 1"),
        (b"\x00" * 8, "float64", 1, "float32, bfloat16"),
    ],
)
def test_what_does_not_fit_is_refused(vector: bytes, dtype: str, dim: int, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        encode_value(vector, dtype, dim)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (b"", "at least 6 bytes"),
        (b"\x01\x01\x01\x00\x00", "at least 6 bytes"),
        (b"\x02\x01\x01\x00\x00\x00\x00\x00\x80\x3f", "layout 2"),
        (b"\x01\x07\x01\x00\x00\x00\x00\x00\x80\x3f", "dtype code 7"),
        (b"\x01\x01\x02\x00\x00\x00\x00\x00\x80\x3f", "has 8 bytes"),
        (b"\x01\x01\x01\x00\x00\x00\x00\x00\x80\x3f\x00", "not 5"),
    ],
)
def test_what_was_not_encoded_here_is_refused(value: bytes, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        decode_value(value)
