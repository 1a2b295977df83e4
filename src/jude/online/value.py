"""The bytes of one stored vector, the same in every online store.

Layout: version byte (1), dtype code (1 float32, 2 bfloat16), dim as unsigned 32-bit little-endian, then the numbers,
little-endian. Position and available_at stand beside the value (a column, a hash field): the guard compares them.
"""

from __future__ import annotations

import struct
from typing import Final

VALUE_VERSION: Final = 1
_HEADER: Final = struct.Struct("<BBI")
_CODES: Final = {"float32": 1, "bfloat16": 2}
_NAMES: Final = {code: name for name, code in _CODES.items()}
_BYTES_PER_NUMBER: Final = {"float32": 4, "bfloat16": 2}


def encode_value(vector: bytes, dtype: str, dim: int) -> bytes:
    """Put the header before the numbers. Raises ValueError when dtype, dim and length do not agree."""
    if dtype not in _CODES:
        raise ValueError(f"dtype {dtype!r} cannot be stored online: use one of {', '.join(_CODES)}")
    _check_length(len(vector), dtype, dim)
    return _HEADER.pack(VALUE_VERSION, _CODES[dtype], dim) + vector


def decode_value(value: bytes) -> tuple[bytes, str, int]:
    """Give (vector, dtype, dim). Raises ValueError for anything that `encode_value` did not write."""
    if len(value) < _HEADER.size:
        raise ValueError(f"an online value has at least {_HEADER.size} bytes, this one has {len(value)}")
    version, code, dim = _HEADER.unpack_from(value)
    if version != VALUE_VERSION:
        raise ValueError(f"online value of layout {version}, this JUDE reads layout {VALUE_VERSION}: rebuild the store")
    if code not in _NAMES:
        raise ValueError(f"online value with the unknown dtype code {code}: known are {_NAMES}")
    _check_length(len(value) - _HEADER.size, _NAMES[code], dim)
    return value[_HEADER.size :], _NAMES[code], dim


def _check_length(found_bytes: int, dtype: str, dim: int) -> None:
    wanted = dim * _BYTES_PER_NUMBER[dtype]
    if dim < 1 or found_bytes != wanted:
        raise ValueError(f"a {dtype} vector of width {dim} has {wanted} bytes (width at least 1), not {found_bytes}")
