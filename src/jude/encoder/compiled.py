"""Kernels for a CPU in Python that Numba compiles, over float32, or over bfloat16 as its bits (uint16).

All is computed in float32. Numba keeps what it has compiled (seconds, once per machine and type) beside this file, or
in NUMBA_CACHE_DIR. It compiles anew what a changed file holds and not what that calls, so all of it is in this file.
"""

# T tokens of all texts together, B texts or tokens that ask, H heads, E width of a head, L positions

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

_log = logging.getLogger(__name__)

_WIDE: Final = bool(llvmlite.binding.get_host_cpu_features().get("avx512f", False))
_LANES: Final = 16 if _WIDE else 8  # numbers of a vector
_ROWS: Final = 6  # of a tile, whose sums stay in registers: 24 of 32, or 12 of 16
_VECTORS: Final = 4 if _WIDE else 2
_BLOCK: Final = 64  # numbers that the compiled exponential takes at a time
# NaN stays NaN; sums may be taken in any order, but for the exponential.
_ANY_ORDER: Final = frozenset({"contract", "reassoc", "nsz", "arcp", "afn"})


@lru_cache(maxsize=1)
def _say_that_nothing_is_kept() -> None:
    _log.warning("No folder to keep compiled code in: every process compiles it. Set NUMBA_CACHE_DIR.")


def _compiled(order: frozenset[str] = _ANY_ORDER) -> Callable[[Callable[..., Any]], Any]:
    options = {"nogil": True, "error_model": "numpy", "fastmath": set(order)}

    def compiled(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(function, cache=True, **options)
        except RuntimeError:
            _say_that_nothing_is_kept()
            return numba.njit(function, **options)

    return compiled


# What Numba has no words for: bits, and vectors whose sums stay in registers.


@intrinsic
def _as_float(_: Any, bits: Any) -> Any:
    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.uint32), codegen


@intrinsic
def _as_bits(_: Any, number: Any) -> Any:
    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(32))

    return types.uint32(types.float32), codegen


def _wide(x: Any) -> Any:
    raise NotImplementedError


@overload(_wide, inline="always")
def _(x):
    if x == types.uint16:
        return lambda x: _as_float(np.uint32(x) << np.uint32(16))
    return lambda x: x


def _narrow(x: Any, like: Any) -> Any:
    raise NotImplementedError


@overload(_narrow, inline="always")
def _(x, like):
    if like.dtype == types.uint16:

        def to_nearest_even(x, like):
            bits = _as_bits(x)
            return np.uint16((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))

        return to_nearest_even
    return lambda x, like: x


_VECTOR: Final = ir.VectorType(ir.FloatType(), _LANES)


def _integer(n: int) -> ir.Constant:
    return ir.Constant(ir.IntType(64), n)


def _of_llvm(builder: Any, name: str, result: ir.Type, *arguments: ir.Type) -> Any:
    name = f"llvm.{name}.v{_LANES}f32"
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), name)


def _tile_of(vectors: int) -> Any:
    """made[_ROWS, at:] = a[_ROWS, :depth] b[:depth, at:], so many vectors wide."""

    @intrinsic
    def tile(_: Any, a: Any, b: Any, made: Any, at: Any, depth: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            given = zip(signature.args[:3], args[:3], strict=True)
            arrays = [context.make_array(kind)(context, builder, value) for kind, value in given]
            steps = [builder.sdiv(cgutils.unpack_tuple(builder, x.strides)[0], _integer(4)) for x in arrays]

            def place(which: int, row: Any, column: Any) -> Any:
                return builder.gep(arrays[which].data, [builder.add(builder.mul(row, steps[which]), column)])

            def vector(which: int, row: Any, n: int) -> Any:
                column = builder.add(args[3], _integer(n * _LANES))
                return builder.bitcast(place(which, row, column), _VECTOR.as_pointer())

            fma = _of_llvm(builder, "fma", _VECTOR, _VECTOR, _VECTOR, _VECTOR)
            zeros = ir.Constant(_VECTOR, [0.0] * _LANES)
            sums = [[cgutils.alloca_once_value(builder, zeros) for _ in range(vectors)] for _ in range(_ROWS)]
            with cgutils.for_range(builder, args[4]) as loop:
                line = [builder.load(vector(1, loop.index, n), align=4) for n in range(vectors)]
                for row in range(_ROWS):
                    every = _in_all_lanes(builder, builder.load(place(0, _integer(row), loop.index)))
                    for number, total in zip(line, sums[row], strict=True):
                        builder.store(builder.call(fma, [number, every, builder.load(total)]), total)
            for row in range(_ROWS):
                for n, total in enumerate(sums[row]):
                    builder.store(builder.load(total), vector(2, _integer(row), n), align=4)
            return context.get_dummy_value()

        return types.void(a, b, made, types.int64, types.int64), codegen

    return tile


def _in_all_lanes(builder: Any, number: Any) -> Any:
    first = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), number, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(ir.IntType(32), _LANES), [0] * _LANES))


_tile_1, _tile_2, _tile_3, _tile_4 = (_tile_of(vectors) for vectors in range(1, 5))


@intrinsic
def _highest(_: Any, row: Any, count: Any) -> Any:
    """The highest of the first so many numbers, whole vectors of them."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        top = cgutils.alloca_once_value(builder, ir.Constant(_VECTOR, [-math.inf] * _LANES))
        with cgutils.for_range_slice(builder, _integer(0), args[1], _integer(_LANES)) as (n, _count):
            x = builder.load(builder.bitcast(builder.gep(data, [n]), _VECTOR.as_pointer()), align=4)
            before = builder.load(top)
            builder.store(builder.select(builder.fcmp_ordered(">", x, before), x, before), top)
        reduce = _of_llvm(builder, "vector.reduce.fmax", ir.FloatType(), _VECTOR)
        return builder.call(reduce, [builder.load(top)], fastmath=("nnan",))

    return types.float32(row, types.int64), codegen


@_compiled(frozenset({"contract"}))
def _exponential(x: Any) -> Any:
    """e^x for x <= 0, to a relative error of 2e-7."""
    x = np.float32(-87) if x < np.float32(-87) else x
    shifted = x * np.float32(1.44269504) + np.float32(12582912)  # the integer part of x / ln 2 in its lowest bits
    whole = shifted - np.float32(12582912)
    power = _as_float((_as_bits(shifted) + np.uint32(127)) << np.uint32(23))  # shifts all others out
    f = x - whole * np.float32(0.693359375) + whole * np.float32(2.12194440e-4)
    p = f * np.float32(1 / 720) + np.float32(1 / 120)
    p = p * f + np.float32(1 / 24)
    p = p * f + np.float32(1 / 6)
    p = p * f + np.float32(1 / 2)
    p = p * f + np.float32(1)
    p = p * f + np.float32(1)
    return p * power


@_compiled()
def _softmax(row: Any, count: int, most: int) -> Any:
    """e^(x - highest) in place, next to 0 from `count` on; gives their sum. `most`: a multiple of a block."""
    unread = row[count:most]
    for n in range(len(unread)):
        unread[n] = -np.inf
    top = _highest(row, most)
    total = np.float32(0)
    for n in range(most):
        x = _exponential(row[n] - top)
        row[n] = x
        total += x
    return total


@_compiled()
def _product(a: Any, b: Any, made: Any, depth: int, columns: int) -> None:
    """made = a b: `_ROWS` rows, so many columns, rounded up to whole vectors."""
    at = 0
    while at + (_VECTORS - 1) * _LANES < columns:
        if _VECTORS == 4:
            _tile_4(a, b, made, at, depth)
        else:
            _tile_2(a, b, made, at, depth)
        at += _VECTORS * _LANES
    if at + 2 * _LANES < columns:
        _tile_3(a, b, made, at, depth)
    elif at + _LANES < columns:
        _tile_2(a, b, made, at, depth)
    elif at < columns:
        _tile_1(a, b, made, at, depth)


@_compiled()
def _prepare(head: Any, to: Any, weight: Any, cosines: Any, sines: Any, factor: Any, eps: Any) -> None:
    """Queries and keys before they meet: the head's mean square to 1, its rotary position, a factor."""
    width = len(head)
    if len(weight) > 0:
        squares = np.float32(0)
        for e in range(width):
            squares += _wide(head[e]) * _wide(head[e])
        factor = factor / np.float32(math.sqrt(squares / np.float32(width) + eps))
        for e in range(width):
            to[e] = _wide(head[e]) * (weight[e] * factor)
    else:
        for e in range(width):
            to[e] = _wide(head[e]) * factor
    if len(cosines) > 0:
        middle = width // 2
        left, right = to[:middle], to[middle:width]
        left_cosines, left_sines, right_cosines, right_sines = (
            cosines[:middle], sines[:middle], cosines[middle:], sines[middle:],
        )  # fmt: skip
        for e in range(middle):
            x, y = left[e], right[e]
            left[e] = x * left_cosines[e] + y * left_sines[e]
            right[e] = y * right_cosines[e] + x * right_sines[e]


@_compiled()
def _lay_out(kv: Any, first_key: int, keys: Any, values: Any, weight: Any, cosines: Any, sines: Any, eps: Any) -> None:
    """Keys of one text as columns, ready to be asked, and its values as rows: of every head that has any."""
    row = np.empty(kv.shape[2], np.float32)
    cosine, sine = weight[:0], weight[:0]
    for place in range(len(kv)):
        if len(cosines) > 0:
            cosine, sine = cosines[place], sines[place]
        for head in range(len(keys)):
            _prepare(kv[place, first_key + head], row, weight, cosine, sine, np.float32(1), eps)
            columns = keys[head]
            for e in range(len(row)):
                columns[e, place] = row[e]
            value, read = values[head, place], kv[place, first_key + len(keys) + head]
            for e in range(len(row)):
                value[e] = _wide(read[e])


@_compiled()
def _put(row: Any, factor: Any, to: Any) -> None:
    for e in range(len(to)):
        to[e] = _narrow(row[e] * factor, to)


@_compiled()
def attend(
    q: Any,
    kv: Any,
    mixed: Any,
    lengths: Any,
    only: Any,
    key_heads: int,
    q_weight: Any,
    k_weight: Any,
    cosines: Any,
    sines: Any,
    eps: float,
    causal: bool,
) -> None:
    """Attention of texts laid end to end, each within itself, into mixed[B, H, E].

    q[B, H or more, E], kv[T, ..., E] whose last heads are those of keys, then those of values, lengths[B]. only: the
    token of each text that asks; empty: all ask. q_weight, k_weight: [E], or empty: no norm. cosines, sines: [L, E],
    or empty: nothing is turned.
    """
    width, share, first_key = q.shape[2], mixed.shape[1] // key_heads, kv.shape[1] - 2 * key_heads
    # No power of two, or the rows of one column would share lines of the cache.
    step = (lengths.max() + _BLOCK - 1) // _BLOCK * _BLOCK + _LANES
    wide = (width + _LANES - 1) // _LANES * _LANES
    keys = np.empty((key_heads, width, step), np.float32)
    values = np.zeros((key_heads, step, wide), np.float32)
    asked, scores = np.empty((_ROWS, width), np.float32), np.empty((_ROWS, step), np.float32)
    made, counts, sums = np.empty((_ROWS, wide), np.float32), np.empty(_ROWS, np.int64), np.empty(_ROWS, np.float32)
    cosine, sine, scale, small = q_weight[:0], q_weight[:0], np.float32(1 / math.sqrt(width)), np.float32(eps)
    start = 0
    for text in range(len(lengths)):
        length = lengths[text]
        _lay_out(kv[start : start + length], first_key, keys, values, k_weight, cosines, sines, small)
        tasks = (1 if len(only) > 0 else length) * share
        for key_head in range(key_heads):
            # The queries that share a head of keys are rows of one product, token by token.
            for first in range(0, tasks, _ROWS):
                most = 0
                for r in range(_ROWS):
                    task = min(first + r, tasks - 1)
                    place = only[text] - start if len(only) > 0 else task // share
                    asking = text if len(only) > 0 else start + place
                    if len(cosines) > 0:
                        cosine, sine = cosines[place], sines[place]
                    head = q[asking, key_head * share + task % share]
                    _prepare(head, asked[r], q_weight, cosine, sine, scale, small)
                    counts[r] = place + 1 if causal else length
                    most = max(most, counts[r])
                _product(asked, keys[key_head], scores, width, most)
                for r in range(_ROWS):
                    sums[r] = _softmax(scores[r], counts[r], (most + _BLOCK - 1) // _BLOCK * _BLOCK)
                _product(scores, values[key_head], made, most, width)
                for r in range(min(_ROWS, tasks - first)):
                    asking = text if len(only) > 0 else start + (first + r) // share
                    _put(made[r], 1 / sums[r], mixed[asking, key_head * share + (first + r) % share])
        start += length


@_compiled()
def normalise(x: Any, made: Any, eps: float) -> None:
    """Scale every row of x[T, D] to mean square 1, into made[T, D]."""
    rows, width = x.shape
    for r in range(rows):
        source, target = x[r], made[r]
        squares = np.float32(0)
        for e in range(width):
            squares += _wide(source[e]) * _wide(source[e])
        factor = np.float32(1 / math.sqrt(squares / np.float32(width) + eps))
        for e in range(width):
            target[e] = _narrow(_wide(source[e]) * factor, target)
