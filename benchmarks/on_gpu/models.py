"""Random weights in published shapes, so that nothing is downloaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

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
CONFIG: Final[dict[str, Any]] = {"hidden_act": "silu", "rms_norm_eps": 1e-6}


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
    config = {**CONFIG, **shape}
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
