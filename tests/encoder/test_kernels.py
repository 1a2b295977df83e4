"""A build of torch without the private ops of oneDNN, or with other ones: plain products, the same vectors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from jude.encoder import EncoderSpec, kernels
from jude.encoder.local import LocalEncoder
from jude.encoder.made_of import made_of
from tests.encoder.tiny import build, inputs


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    """What torch can do is remembered by the process."""
    kernels._onednn_packs.cache_clear()
    yield
    kernels._onednn_packs.cache_clear()


def refusing(*_: Any, **__: Any) -> None:
    raise RuntimeError("mkldnn::_linear_pointwise() expected at most 3 arguments")


REAL = torch.ops.mkldnn


def plain(*given: Any) -> Any:
    """The op without its overloads."""
    return REAL._linear_pointwise(*given)


CHANGED: dict[str, Any] = {
    "no op at all": SimpleNamespace(),
    "other arguments": SimpleNamespace(
        _reorder_linear_weight=REAL._reorder_linear_weight, _linear_pointwise=refusing
    ),
    "no fused sum": SimpleNamespace(_reorder_linear_weight=REAL._reorder_linear_weight, _linear_pointwise=plain),
}  # fmt: skip


@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", ["bert", "qwen3"])
@pytest.mark.parametrize("change", CHANGED)
def test_the_vectors_are_the_same_by_plain_products(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, family: str, compute: str
) -> None:
    parts = made_of(EncoderSpec("folder", path=str(build(family, tmp_path / family)), compute=compute))
    packed = LocalEncoder("v", parts, threads=1).encode(inputs())

    monkeypatch.setattr(torch.ops, "mkldnn", CHANGED[change])
    kernels._onednn_packs.cache_clear()
    plain = LocalEncoder("v", parts, threads=1)

    assert not kernels._onednn_packs(torch.float32)
    np.testing.assert_allclose((plain.encode(inputs()) * packed).sum(1), 1, atol=1e-6 if compute == "float32" else 1e-3)
