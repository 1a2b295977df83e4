"""Attention, norms and rotary positions by compiled C: the numbers of PyTorch's operations, or those instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from jude.encoder import EncoderSpec, fused, kernels  # noqa: E402 - after importorskip
from jude.encoder.decoder import _turned  # noqa: E402 - after importorskip
from jude.encoder.local import LocalEncoder  # noqa: E402 - after importorskip
from jude.encoder.made_of import made_of  # noqa: E402 - after importorskip
from jude.encoder.pooling import places  # noqa: E402 - after importorskip
from tests.encoder.tiny import DECODERS, build, inputs  # noqa: E402 - after importorskip

compiled = pytest.mark.skipif(fused._library_or_none() is None, reason="no C compiler on this machine")
LENGTHS = [1, 2, 7, 7, 15, 16, 17, 40, 64, 65, 130]
TOLERANCE = {torch.float32: 3e-6, torch.bfloat16: 0.03}


@compiled
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("heads", "key_heads", "width"), [(4, 4, 32), (8, 2, 64), (3, 1, 12), (4, 2, 48)])
def test_attention_is_that_of_torch(heads: int, key_heads: int, width: int, causal: bool, dtype: Any) -> None:
    torch.manual_seed(7)
    tokens, longest = sum(LENGTHS), max(LENGTHS)
    qkv = torch.randn(tokens, (heads + 2 * key_heads) * width).to(dtype)
    norms = (torch.rand(width) + 0.5, torch.rand(width) + 0.5, 1e-6)
    angles = torch.outer(torch.arange(longest), torch.rand(width // 2)).repeat(1, 2)
    turns = (angles.cos(), angles.sin())
    last = torch.tensor(LENGTHS).cumsum(0) - 1
    q, kv = qkv.tensor_split((heads * width,), dim=1)
    ours = fused.Heads(heads, key_heads, norms)

    with torch.inference_mode():
        made = ours.attend(q, kv, LENGTHS, None, turns, causal=causal)
        of_last = ours.attend(q[last], kv, LENGTHS, last, turns, causal=causal)
        q_THE, k_THE, v_THE = (x.reshape(tokens, -1, width) for x in (q.float(), *kv.float().chunk(2, dim=1)))
        at = places(torch.tensor(LENGTHS))
        q_THE, k_THE = (
            _turned(kernels.RootMeanSquareNorm(norm, 1e-6)(x), (turns[0][at, None], turns[1][at, None]))
            for x, norm in ((q_THE, norms[0]), (k_THE, norms[1]))
        )
        exact = kernels.attend(q_THE, k_THE, v_THE, LENGTHS, causal=causal)

    assert made.dtype == dtype
    np.testing.assert_allclose(made.float(), exact, atol=TOLERANCE[dtype])
    np.testing.assert_allclose(of_last.float(), exact[last], atol=TOLERANCE[dtype])


@compiled
def test_numbers_that_are_not_finite_stay_so_and_in_their_own_text() -> None:
    qkv = torch.randn(20, 3 * 32)
    qkv[12, 40] = torch.nan
    with torch.inference_mode():
        made = fused.Heads(1, 1).attend(qkv[:, :32], qkv[:, 32:], [10, 10], None, None, causal=False)

    assert made[:10].isfinite().all()
    assert made[10:].isnan().all()


@compiled
@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", ["bert", "xlm-roberta", *DECODERS])
def test_without_a_compiler_the_vectors_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, compute: str
) -> None:
    parts = made_of(EncoderSpec("folder", path=str(build(family, tmp_path / family)), compute=compute))
    encoder = LocalEncoder("v", parts, threads=1)
    compiled = encoder.encode(inputs())

    monkeypatch.setattr(fused.shutil, "which", lambda _: None)
    monkeypatch.setattr(fused, "_folder", lambda: tmp_path)
    fused._library_or_none.cache_clear()
    try:
        plain = encoder.encode(inputs())
        assert fused._library_or_none() is None
    finally:
        fused._library_or_none.cache_clear()

    np.testing.assert_allclose((plain * compiled).sum(1), 1, atol=1e-6 if compute == "float32" else 2e-3)


def test_what_others_could_have_written_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused.tempfile, "gettempdir", lambda: str(tmp_path))
    fused._folder().chmod(0o777)
    with pytest.raises(PermissionError, match="open to others"):
        fused._folder()

    fused._library_or_none.cache_clear()
    try:
        assert fused._library_or_none() is None
    finally:
        fused._library_or_none.cache_clear()
