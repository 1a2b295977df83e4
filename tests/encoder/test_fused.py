"""Compiled attention, norms and rotary positions, held to the plain arithmetic in float64."""

from __future__ import annotations

import logging
import math
import os
import subprocess
import sys
from typing import Any

import pytest
import torch

from jude.encoder import fused

LENGTHS = [1, 1, 7, 7, 15, 16, 17, 48, 49, 63, 64, 65, 130]  # on both sides of a tile's width and of a block
HEADS = 4


def plain(q: Any, k: Any, v: Any, causal: bool, share: int) -> Any:
    """Attention of one text, q [L or 1, H, E] over k and v [L, H / share, E]; a single query reads all."""
    k, v = (x.repeat_interleave(share, 1) for x in (k, v))
    scores = torch.einsum("ihe,jhe->hij", q, k) / math.sqrt(q.shape[2])
    if causal and len(q) > 1:
        scores += torch.full(scores.shape[1:], -torch.inf).triu(1)
    return torch.einsum("hij,jhe->ihe", scores.softmax(-1), v).flatten(1)


def turned(x: Any, cosines: Any, sines: Any) -> Any:
    left, right = x.chunk(2, -1)
    return x * cosines[:, None] + torch.cat([right, left], -1) * sines[:, None]


def normed(x: Any, weight: Any) -> Any:
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight


def drawn(share: int, width: int, dtype: Any) -> tuple[Any, ...]:
    torch.manual_seed(7)
    tokens = sum(LENGTHS)
    return tuple(torch.randn(tokens, heads * width).to(dtype) for heads in (HEADS, 2 * HEADS // share))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("once", [True, False])
@pytest.mark.parametrize(("share", "width", "decoder"), [(1, 32, False), (2, 64, True), (4, 12, True), (1, 80, False)])
def test_attention_is_that_of_each_text_alone(
    share: int, width: int, decoder: bool, once: bool, causal: bool, dtype: Any
) -> None:
    q, kv = drawn(share, width, dtype)
    weights = (torch.rand(width) + 0.5, torch.rand(width) + 0.5)
    angles = torch.outer(torch.arange(float(max(LENGTHS))), 1e4 ** -(torch.arange(0, width, 2) / width))
    turns = (angles.cos().repeat(1, 2), torch.cat([-angles.sin(), angles.sin()], 1))
    last = torch.tensor(LENGTHS).cumsum(0) - 1
    more: dict[str, Any] = {"norms": (*weights, 1e-6), "turns": turns} if decoder else {}
    with torch.inference_mode():
        made = fused.attend(
            q[last] if once else q, kv, LENGTHS, last if once else None, heads=HEADS, key_heads=HEADS // share,
            width=width, causal=causal, **more,
        )  # fmt: skip

    expected, start = [], 0
    for length in LENGTHS:
        rows = slice(start, start + length)
        asked = q[rows].double().view(length, HEADS, width)
        k, v = kv[rows].double().view(length, -1, width).chunk(2, 1)
        if decoder:
            asked, k = (
                turned(normed(x, weight.double()), *(turn[:length].double() for turn in turns))
                for x, weight in zip((asked, k), weights, strict=True)
            )
        expected.append(plain(asked[-1:] if once else asked, k, v, causal, share))
        start += length
    assert made.dtype == dtype
    off = (made.double() - torch.cat(expected)).abs()
    assert off.max() < 4e-6 if dtype == torch.float32 else (off < 0.005 + 0.005 * torch.cat(expected).abs()).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("width", [5, 512])
def test_a_norm_brings_rows_to_mean_square_one(dtype: Any, width: int) -> None:
    x = (torch.randn(9, width) * torch.logspace(-3, 3, 9)[:, None]).to(dtype)
    with torch.inference_mode():
        made = fused.root_mean_square_norm(x, 1e-6)
    expected = normed(x.double(), 1.0)
    torch.testing.assert_close(made.double(), expected, rtol=1e-6 if dtype == torch.float32 else 0.004, atol=0)


def test_what_is_not_a_number_stays_in_its_text() -> None:
    q, kv = drawn(1, 32, torch.float32)
    kv[LENGTHS[0] + LENGTHS[1]] = torch.nan  # the first token of the third text
    with torch.inference_mode():
        made = fused.attend(q, kv, LENGTHS, None, heads=HEADS, key_heads=HEADS, width=32, causal=False)
    bad = made.isnan().any(1)
    assert bad.nonzero().flatten().tolist() == list(range(2, 9))


def test_scores_of_any_size_give_finite_weights() -> None:
    q, kv = drawn(1, 32, torch.float32)
    with torch.inference_mode():
        made = fused.attend(q * 1e4, kv, LENGTHS, None, heads=HEADS, key_heads=HEADS, width=32, causal=True)
    assert made.isfinite().all()
    assert made.abs().max() <= kv[:, HEADS * 32 :].abs().max() + 1e-5  # an average of values


def test_gradients_take_the_plain_way() -> None:
    assert not fused.fuses(torch.ones(2, 2))
    with torch.inference_mode():
        assert fused.fuses(torch.ones(2, 2))
        assert not fused.fuses(torch.ones(2, 2, dtype=torch.float64))


NARROW = """
import llvmlite.binding
llvmlite.binding.get_host_cpu_features = llvmlite.binding.FeatureMap  # as on a CPU without AVX-512
import pytest
from jude.encoder import compiled
assert (compiled._LANES, compiled._VECTORS) == (8, 2)
chosen = ["-k", "each_text_alone and dtype0"]
raise SystemExit(pytest.main(["-q", "-p", "no:cacheprovider", "tests/encoder/test_fused.py", *chosen]))
"""


def test_a_cpu_with_narrower_vectors_gives_the_same(tmp_path: Any) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}  # compiled code is not kept by the width of vectors
    ended = subprocess.run([sys.executable, "-c", NARROW], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_without_a_folder_for_compiled_code_every_process_compiles(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import numba

    from jude.encoder import compiled

    real = numba.njit

    def njit(function: Any, *, cache: bool = False, **options: Any) -> Any:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return real(function, **options)

    monkeypatch.setattr(numba, "njit", njit)
    with caplog.at_level(logging.WARNING):
        assert [compiled._compiled()(lambda x: x + 1)(2) for _ in range(2)] == [3, 3]
    assert caplog.text.count("NUMBA_CACHE_DIR") == 1
