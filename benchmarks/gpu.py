"""What one NVIDIA GPU makes of the encoder: random weights in published shapes, so nothing is downloaded.

    python -m benchmarks.gpu parity|embed|cold-start   one JSON object on the last line
    python -m benchmarks.gpu embed --tiny --device cpu that it runs, on any machine; its figures mean nothing
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
from numpy.typing import NDArray

from jude.encoder.forward import require_device
from jude.encoder.local import LocalEncoder
from jude.encoder.made_of import MadeOf
from jude.encoder.model_folder import ModelFolder

SHAPES: Final[dict[str, dict[str, Any]]] = {
    "qwen2.5-7b": {"model_type": "qwen2", "num_hidden_layers": 28, "hidden_size": 3584, "intermediate_size": 18944,
                   "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064, "rope_theta": 1e6},
    "mistral-7b": {"model_type": "mistral", "num_hidden_layers": 32, "hidden_size": 4096, "intermediate_size": 14336,
                   "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000, "rope_theta": 1e4},
    "tiny": {"model_type": "qwen2", "num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128,
             "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 512, "rope_theta": 1e6},
}  # fmt: skip
MOST_TOKENS: Final = 4096


def main() -> None:
    options = argparse.ArgumentParser()
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
    "parity": parity, "embed": embed, "cold-start": cold_start,
}  # fmt: skip


def random_folder(folder: Path, shape: dict[str, Any]) -> Path:
    """Weights and config alone, in bfloat16, one shard per layer; made on the CPU from a seed."""
    from safetensors.torch import save_file

    torch.manual_seed(1)
    width, inside = shape["hidden_size"], shape["intermediate_size"]
    keys = width * shape["num_key_value_heads"] // shape["num_attention_heads"]
    places: dict[str, str] = {}

    def save(name: str, sizes: dict[str, tuple[int, ...]]) -> None:
        made = {key: torch.ones(size) if len(size) == 1 else torch.randn(size) * size[-1] ** -0.5
                for key, size in sizes.items()}  # fmt: skip
        save_file({key: tensor.bfloat16() for key, tensor in made.items()}, folder / f"{name}.safetensors")
        places.update(dict.fromkeys(sizes, f"{name}.safetensors"))

    save("ends", {"embed_tokens.weight": (shape["vocab_size"], width), "norm.weight": (width,)})
    for n in range(shape["num_hidden_layers"]):
        parts: dict[str, tuple[int, ...]] = {
            **{f"self_attn.{name}_proj": (width, width) for name in "qo"},
            **{f"self_attn.{name}_proj": (keys, width) for name in "kv"},
            **{f"mlp.{name}_proj": (inside, width) for name in ("gate", "up")},
            "mlp.down_proj": (width, inside),
            **{f"{name}_layernorm": (width,) for name in ("input", "post_attention")},
        }
        save(f"layer{n}", {f"layers.{n}.{part}.weight": size for part, size in parts.items()})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return folder


def encoder(folder: Path, shape: dict[str, Any], device: str, compute: str) -> LocalEncoder:
    config = {**shape, "hidden_act": "silu", "rms_norm_eps": 1e-6}
    width = shape["hidden_size"]
    model = ModelFolder("random", folder, config, MOST_TOKENS, "last", True, "causal", (width,))
    parts = MadeOf(model, None, "last", "causal", True, MOST_TOKENS, width, compute)
    return LocalEncoder("random", parts, batch_tokens=4096, device=device)


def tokens(number: int, shape: dict[str, Any]) -> list[int]:
    ids: NDArray[np.int64] = np.random.default_rng(number).integers(0, shape["vocab_size"], number)
    return [int(n) for n in ids]


def weights_in_products(shape: dict[str, Any]) -> float:
    width = shape["hidden_size"]
    keys = width * shape["num_key_value_heads"] / shape["num_attention_heads"]
    per_layer = 2 * width * width + 2 * width * keys + 3 * width * shape["intermediate_size"]
    return float(shape["num_hidden_layers"] * per_layer)


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
