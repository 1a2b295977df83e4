"""The plan of a training run against runs that are measured: peak memory of activations, and the share of the peak.

    python -m benchmarks.train_plan                    about a minute on two cores; one JSON object on the last line
    python -m benchmarks.train_plan --one 135m none    one case, in this process

Weights are random: memory and time do not depend on what they say. Each case is a process of its own, warmed up by a
small step; its peak is the kernel's VmHWM above what it held before the measured step. glibc is told to give freed
tensors back (MALLOC_MMAP_THRESHOLD_), as CUDA would use them again; left alone it keeps up to twice as much.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from jude.encoder.packaged import MINILM, find_model
from jude.training.plan import Shape, Way, memory_of, shape_named
from jude.training.plan.memory import Checkpointing
from jude.training.plan.speed import flops_per_token
from jude.training.settings import LoraSettings, ModelSettings
from jude.training.towers import Towers

CASES: Final = (
    (MINILM, "none", 8192), (MINILM, "selective", 8192), (MINILM, "full", 8192),
    ("135m", "none", 1024), ("135m", "full", 2048),
)  # fmt: skip
TEXT_TOKENS: Final = 128
MOST_WRONG: Final = 0.15


def main() -> None:
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.train_plan",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("--one", nargs=2, metavar=("MODEL", "CHECKPOINTING"))
    options.add_argument("--tokens", type=int, default=1024)
    asked = options.parse_args()
    if asked.one:
        model, checkpointing = asked.one
        print(json.dumps(measured(model, checkpointing, asked.tokens)))
        return
    found = []
    for model, checkpointing, tokens in CASES:
        found.append(in_its_own_process(model, checkpointing, tokens))
        print(found[-1], file=sys.stderr)
    wrong = [case for case in found if abs(case["planned_over_measured"] - 1) > MOST_WRONG]
    peak = gemm_flops()
    for case in found:
        case["share_of_gemm_peak"] = round(case.pop("flops_per_second") / peak, 3)
    told = {"torch": torch.__version__, "threads": torch.get_num_threads(), "gemm_gflops": round(peak / 1e9, 1)}
    print(json.dumps(told | {"cases": found, "within_15_percent": not wrong}))
    sys.exit(bool(wrong))


def in_its_own_process(model: str, checkpointing: str, tokens: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.train_plan", "--one", model, checkpointing, "--tokens", str(tokens)]
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    ran = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


def measured(model: str, checkpointing: Checkpointing, tokens: int) -> dict[str, Any]:
    """One step over `tokens` tokens in float32 with LoRA on q, k, v."""
    shape = shape_named(model)
    way = Way(checkpointing=checkpointing, bytes_per_number=4, chunk_tokens=tokens, batch_pairs=2,
              text_tokens=TEXT_TOKENS)  # fmt: skip
    towers = towers_of(model, shape, checkpointing)
    step(towers, 2 * TEXT_TOKENS)
    gc.collect()
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    began = time.perf_counter()
    step(towers, tokens)
    seconds = time.perf_counter() - began
    planned = memory_of(shape, way)
    expected, found = planned.activations + planned.working, resident("VmHWM") - before
    return {
        "model": shape.name, "checkpointing": checkpointing, "tokens": tokens,
        "planned_mib": round(expected / 2**20), "measured_mib": round(found / 2**20),
        "planned_over_measured": round(expected / found, 3), "tokens_per_second": round(tokens / seconds),
        # Without GradCache: the step has one chunk.
        "flops_per_second": flops_per_token(shape, way) * tokens / seconds,
    }  # fmt: skip


def step(towers: Towers, tokens: int) -> None:
    random = np.random.default_rng(0)
    ids = [random.integers(5, 1000, TEXT_TOKENS).astype(np.int32) for _ in range(tokens // TEXT_TOKENS)]
    towers(ids).square().sum().backward()
    towers.zero_grad(set_to_none=True)


def towers_of(model: str, shape: Shape, checkpointing: Checkpointing) -> Towers:
    from transformers import AutoConfig, AutoModel

    if shape.bert:
        config = AutoConfig.from_pretrained(find_model(model).folder)
        config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    else:
        config = AutoConfig.for_model(
            "llama", hidden_size=shape.width, intermediate_size=shape.inner, num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads, num_key_value_heads=shape.key_heads, vocab_size=shape.words,
        )  # fmt: skip
    inner = AutoModel.from_config(config).requires_grad_(False)
    return Towers(inner, ModelSettings(checkpointing=checkpointing), LoraSettings()).train()


def resident(kind: str) -> int:
    """Bytes, as the kernel counts them."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(kind))
    return int(line.split()[1]) * 1024


def gemm_flops(size: int = 2048, seconds: float = 2.0) -> float:
    """The best of repeated float32 products: what the arithmetic could reach here."""
    a, b, best, end = torch.randn(size, size), torch.randn(size, size), 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        a @ b
        best = max(best, 2 * size**3 / (time.perf_counter() - began))
    return best


if __name__ == "__main__":
    main()
