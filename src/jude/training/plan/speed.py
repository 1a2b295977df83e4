"""Hours and energy of a run: arithmetic that is exact, times a utilisation that is measured or assumed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from jude.training.plan.memory import Way
from jude.training.plan.shapes import Shape

ASSUMED_UTILISATION: Final = 0.4
"""Of the dense bfloat16 peak, for LoRA with packed or length-bucketed texts. Not measured here on any GPU."""
ASSUMED_HOST_WATTS: Final = 150.0
"""CPU, memory, fans and cooling per GPU; of a rented machine nobody knows better."""

_GIB: Final = 2**30


@dataclass(frozen=True, slots=True)
class Gpu:
    """A card by its data sheet."""

    name: str
    tflops: float  # dense bfloat16
    memory: float  # bytes
    watts: float


GPUS: Final[Mapping[str, Gpu]] = {
    "h200": Gpu("NVIDIA H200 SXM", 989, 141e9, 700),
    "h100": Gpu("NVIDIA H100 SXM", 989, 80 * _GIB, 700),
    "a100": Gpu("NVIDIA A100 SXM 80 GB", 312, 80 * _GIB, 400),
    "a100-40": Gpu("NVIDIA A100 SXM 40 GB", 312, 40 * _GIB, 400),
    "l40s": Gpu("NVIDIA L40S", 362, 48 * _GIB, 350),
    "a10g": Gpu("NVIDIA A10G", 70, 24 * _GIB, 150),
}


@dataclass(frozen=True, slots=True)
class Duration:
    """How long and how much."""

    flops_per_token: float
    tokens_per_second: float  # of all GPUs
    hours: float
    kilowatt_hours: float


def duration_of(shape: Shape, way: Way, gpu: Gpu, tokens: float, utilisation: float) -> Duration:
    """Give the time of a run over so many tokens of text (both sides of all pairs, every epoch)."""
    flops = flops_per_token(shape, way)
    rate = way.gpus * gpu.tflops * 1e12 * utilisation / flops
    hours = tokens / rate / 3600
    return Duration(flops, rate, hours, hours * way.gpus * (gpu.watts + ASSUMED_HOST_WATTS) / 1000)


def flops_per_token(shape: Shape, way: Way) -> float:
    """Count multiplications and additions of a training step, per token.

    A product costs 2 per weight forwards and 2 for the gradient of its input; 2 more where its weight is trained.
    GradCache encodes every chunk that is not kept once more; checkpointing computes what it dropped again.
    """
    attention = 4 * shape.heads * shape.head_width * shape.layers * way.text_tokens * (1.0 if shape.bert else 0.5)
    forward = 2 * shape.in_products + attention
    backward = forward + attention + (2 * shape.in_products if way.rank is None else 0)
    recomputed = {"none": 0.0, "selective": 0.5, "full": 1.0}[way.checkpointing]
    return forward * (1 + recomputed + encoded_again(way)) + backward


def encoded_again(way: Way) -> float:
    """Give the share of a batch that GradCache encodes a second time."""
    tokens = 2 * way.batch_pairs * way.text_tokens / way.gpus
    return max(0.0, 1 - way.held_tokens / tokens)
