"""What one NVIDIA GPU makes of the encoder: random weights in published shapes, so nothing is downloaded.

python -m benchmarks.gpu parity|embed|serve|cold-start   one JSON object on the last line
python -m benchmarks.gpu embed --tiny --device cpu       that it runs, on any machine; its figures mean nothing
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from benchmarks.on_gpu import serving
from benchmarks.on_gpu.models import MOST_TOKENS, SHAPES, encoder, random_folder, tokens, weights_in_products
from jude.encoder.forward import require_device


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").split("\n")[0])
    options.add_argument("measure", choices=sorted(MEASURES))
    options.add_argument("--shape", choices=sorted(SHAPES), default="qwen2.5-7b")
    options.add_argument("--tiny", action="store_true")
    options.add_argument("--device", default="cuda")
    wanted = options.parse_args()
    require_device(wanted.device)
    shape = "tiny" if wanted.tiny else wanted.shape
    found = MEASURES[wanted.measure](SHAPES[shape], wanted.device)
    name = torch.cuda.get_device_name() if wanted.device == "cuda" else "cpu: figures mean nothing"
    print(json.dumps({"measure": wanted.measure, "shape": shape, "device": name, "torch": torch.__version__, **found}))


def parity(shape: dict[str, Any], device: str) -> dict[str, Any]:
    """Packed bfloat16 against float32, each text alone; four layers of the shape, so that float32 fits beside it."""
    few = {**shape, "num_hidden_layers": min(4, shape["num_hidden_layers"])}
    longest = MOST_TOKENS if device == "cuda" else 256
    inputs = [tokens(n, few) for n in (1, 2, 3, 17, 128, 129, 512, longest)]
    with tempfile.TemporaryDirectory() as name:
        folder = random_folder(Path(name), few)
        exact = encoder(folder, few, device, "float32")
        reference = np.concatenate([exact.encode([ids]) for ids in inputs])
        found = encoder(folder, few, device, "bfloat16").encode(inputs)
    return {"cos_min": float((found * reference).sum(1).min()), "nan": int(np.isnan(found).any(1).sum())}


def embed(shape: dict[str, Any], device: str) -> dict[str, Any]:
    """512-token texts, last pooling, and one query of 32 tokens; the share of the GEMM peak of the same run."""
    many = [tokens(512, shape) for _ in range(64 if device == "cuda" else 4)]
    with tempfile.TemporaryDirectory() as name:
        body = encoder(random_folder(Path(name), shape), shape, device, "bfloat16")
        seconds = fastest(lambda: body.encode(many))
        query_seconds = fastest(lambda: body.encode([tokens(32, shape)]))
    rate = sum(map(len, many)) / seconds
    reached = rate * 2 * weights_in_products(shape) / 1e12
    peak = gemm_tflops(device)
    return {"tokens_per_second": round(rate), "query_ms": round(1000 * query_seconds, 2), "tflops": round(reached, 2),
            "gemm_peak_tflops": round(peak, 2), "share_of_peak": round(reached / peak, 3)}  # fmt: skip


def cold_start(shape: dict[str, Any], device: str) -> dict[str, Any]:
    """From weights on disk to the second vector, by phase."""
    with tempfile.TemporaryDirectory() as name:
        folder = random_folder(Path(name), shape)
        phases = {}
        began = time.perf_counter()
        body = encoder(folder, shape, device, "bfloat16")
        for phase, length in (("load", 0), ("first_pass", 512), ("second_pass", 512)):
            if length:
                body.encode([tokens(length, shape)])
            phases[f"{phase}_seconds"] = round(time.perf_counter() - began, 3)
            began = time.perf_counter()
    return phases


MEASURES: Final[dict[str, Callable[[dict[str, Any], str], dict[str, Any]]]] = {
    "parity": parity, "embed": embed, "serve": serving.serve, "cold-start": cold_start,
}  # fmt: skip


def gemm_tflops(device: str) -> float:
    size = 8192 if device == "cuda" else 1024
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in "ab")
    return 2 * size**3 / fastest(lambda: float((a @ b)[0, 0])) / 1e12


def fastest(work: Callable[[], object], repeats: int = 5) -> float:
    work()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()  # ends on the CPU, so the device has finished
        seconds.append(time.perf_counter() - began)
    return min(seconds)


if __name__ == "__main__":
    main()
