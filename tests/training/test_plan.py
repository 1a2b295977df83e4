"""The plan's formulas against what transformers builds and what autograd really keeps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import pytest
import torch

from jude.encoder.packaged import MINILM
from jude.errors import TerminalSettingsError
from jude.training.plan import GPUS, Way, duration_of, memory_of, shape_named
from jude.training.plan.memory import kept_per_token
from jude.training.plan.shapes import shape_of
from jude.training.plan.speed import encoded_again, flops_per_token
from jude.training.settings import LoraSettings, ModelSettings
from jude.training.towers import Towers

SIZES = {"vocab_size": 64, "hidden_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4,
         "intermediate_size": 256, "max_position_embeddings": 64}  # fmt: skip
TEXTS, TOKENS = 16, 32


def config_of(family: str) -> Any:
    from transformers import AutoConfig

    bert = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    more = bert if family == "bert" else {"num_key_value_heads": 2}
    return AutoConfig.for_model(family, **SIZES, **more)


def towers_of(family: str, way: Way) -> Towers:
    from transformers import AutoModel

    torch.manual_seed(0)
    model = AutoModel.from_config(config_of(family)).requires_grad_(False)
    if way.bytes_per_number == 2:
        model = model.to(torch.bfloat16)
    settings = ModelSettings(max_tokens=64, checkpointing=way.checkpointing)
    lora = None if way.rank is None else LoraSettings(rank=way.rank, roles=way.roles)
    return Towers(model, settings, lora).train()


@contextmanager
def kept(towers: Towers) -> Iterator[dict[int, int]]:
    """Count the bytes that autograd keeps, each piece of memory once, weights not at all."""
    weights = {p.untyped_storage().data_ptr() for p in towers.parameters()}
    found: dict[int, int] = {}
    held = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            held.append(storage)  # as long as it is held, no other has its address
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield found


CASES = [
    *(("bert", 4, 8, "qkv", again) for again in ("none", "selective", "full")),
    *(("bert", 2, 8, "all", again) for again in ("none", "selective")),
    ("bert", 4, None, "all", "none"),
    *(("llama", size, 8, "qkv", "none") for size in (4, 2)),
    ("llama", 2, 8, "all", "none"),
    ("llama", 4, None, "all", "full"),
    ("qwen2", 4, 8, "qkv", "full"),
]


@pytest.mark.parametrize(("family", "size", "rank", "roles", "checkpointing"), CASES)
def test_what_autograd_keeps_is_what_was_planned(
    family: str, size: int, rank: int | None, roles: Literal["qkv", "all"], checkpointing: Any
) -> None:
    way = Way(rank=rank, roles=roles, checkpointing=checkpointing, bytes_per_number=size)
    towers = towers_of(family, way)
    ids = [np.full(TOKENS, 5, np.int32) for _ in range(TEXTS)]
    with kept(towers) as found:
        vectors = towers(ids)
    assert vectors.requires_grad
    planned = kept_per_token(shape_of(family, config_of(family).to_dict()), way) * TEXTS * TOKENS
    assert sum(found.values()) == pytest.approx(planned, rel=0.15)


@pytest.mark.parametrize("family", ["bert", "llama", "qwen2"])
@pytest.mark.parametrize("roles", ["qkv", "all"])
def test_parameters_are_counted_as_they_are_built(family: str, roles: Literal["qkv", "all"]) -> None:
    shape = shape_of(family, config_of(family).to_dict())
    towers = towers_of(family, Way(rank=8, roles=roles))
    pooler = [p.numel() for name, p in towers.named_parameters() if "pooler" in name]
    trained = sum(p.numel() for p in towers.parameters() if p.requires_grad)
    assert trained == shape.adapters(8, roles)
    assert sum(p.numel() for p in towers.parameters()) - sum(pooler) - trained == shape.parameters


def test_the_packaged_model_is_as_large_as_it_is_said_to_be() -> None:
    assert shape_named(MINILM).parameters == 22_565_376  # 22.7 M with the pooler
    assert shape_named("7b").parameters == pytest.approx(7.11e9, rel=0.001)  # 7.24 B with its language-model head


def test_zero_divides_what_its_stage_says() -> None:
    shape = shape_named("7b")
    alone, eight = (memory_of(shape, Way(gpus=gpus, rank=None, zero=1)) for gpus in (1, 8))
    assert eight.optimizer == alone.optimizer / 8
    assert (eight.gradients, eight.weights) == (alone.gradients, alone.weights)
    third = memory_of(shape, Way(gpus=8, rank=None, zero=3))
    assert (third.gradients, third.weights) == (alone.gradients / 8, alone.weights / 8)


def test_time_is_arithmetic_over_utilisation() -> None:
    shape, way = shape_named("7b"), Way(gpus=8, batch_pairs=16, text_tokens=256)
    # One chunk holds the batch: 2 + 2 per weight, and attention over half of 256 tokens, forwards and twice backwards.
    attention = 4 * 4096 * 32 * 256 / 2
    assert flops_per_token(shape, way) == 4 * shape.in_products + 3 * attention
    found = duration_of(shape, way, GPUS["h100"], tokens=1e9, utilisation=0.5)
    assert found.tokens_per_second == pytest.approx(8 * 989e12 * 0.5 / flops_per_token(shape, way))
    assert found.hours == pytest.approx(1e9 / found.tokens_per_second / 3600)


def test_chunks_that_are_kept_cost_memory_and_save_a_pass() -> None:
    shape = shape_named(MINILM)
    lean, kept = Way(batch_pairs=64, chunk_tokens=2048), Way(batch_pairs=64, chunk_tokens=2048, kept_tokens=16384)
    assert memory_of(shape, kept).activations == 8 * memory_of(shape, lean).activations
    assert (encoded_again(lean), encoded_again(kept)) == (1 - 2048 / 32768, 0.5)
    assert encoded_again(Way(batch_pairs=2, text_tokens=16)) == 0


def test_a_shape_that_nobody_knows_is_refused() -> None:
    with pytest.raises(TerminalSettingsError, match="Known: all-minilm-l6-v2, 135m"):
        shape_named("70b")
    with pytest.raises(TerminalSettingsError, match="is t5, whose memory"):
        shape_of("x", {"model_type": "t5"})
    with pytest.raises(TerminalSettingsError, match="is None, whose memory"):
        shape_of("x", {})
