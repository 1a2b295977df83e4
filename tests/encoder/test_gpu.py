"""The GPU path by the measure of the CPU path. `python -m pytest -m gpu` on a machine that has one."""

from __future__ import annotations

import pytest
import torch

from benchmarks.gpu import embed, parity
from benchmarks.on_gpu.models import SHAPES
from benchmarks.on_gpu.serving import serve


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here")
@pytest.mark.parametrize("shape", ["tiny", "qwen2.5-7b", "mistral-7b"])
def test_packed_flash_attention_in_bfloat16_stays_near_float32(shape: str) -> None:
    found = parity(SHAPES[shape], "cuda")
    assert found["nan"] == 0
    assert found["cos_min"] >= 0.999


def test_the_measures_run_on_a_cpu_in_the_smallest_shape() -> None:
    assert parity(SHAPES["tiny"], "cpu")["cos_min"] >= 0.999
    assert embed(SHAPES["tiny"], "cpu")["tokens_per_second"] > 0


def test_the_measures_behind_a_server_run_on_a_cpu_in_the_smallest_shape() -> None:
    found = serve(SHAPES["tiny"], "cpu")

    assert found["capacity_tokens_per_second"] > 0
    assert found["query_ms_p50"] > 0
