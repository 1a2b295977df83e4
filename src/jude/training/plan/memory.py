"""Bytes of one GPU in training, part by part. Formulas for this trainer, held to measured runs by a benchmark.

Optimizer and ZeRO after Rajbhandari et al. (arXiv:1910.02054); activations are counted from what autograd keeps.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from jude.errors import TerminalSettingsError
from jude.training.plan.shapes import Shape

Checkpointing = Literal["none", "selective", "full"]

_FLOAT = 4


@dataclass(frozen=True, slots=True)
class Way:
    """How a model is trained."""

    gpus: int = 1
    rank: int | None = 16  # of LoRA; None: all weights are trained
    roles: Literal["qkv", "all"] = "qkv"
    zero: int = 1  # stage; this trainer has 0 (plain) and 1
    bytes_per_number: int = 2  # of base and activations: 2 bfloat16, 4 float32
    checkpointing: Checkpointing = "none"
    chunk_tokens: int = 8192  # of one forward pass
    kept_tokens: int = 0  # of chunks that keep their states, so that they are not encoded twice
    batch_pairs: int = 1024  # of one update, over all GPUs
    text_tokens: int = 256  # of an average text

    @property
    def held_tokens(self) -> int:
        """Tokens whose states are there at a time: kept chunks are freed before others are encoded again."""
        return max(self.chunk_tokens, self.kept_tokens)


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of one GPU."""

    weights: float
    trained: float  # adapters in float32; of full training the float32 copies
    gradients: float
    optimizer: float
    activations: float  # kept for the backward pass
    working: float  # of the layer that is being computed
    vectors: float  # of the whole batch, with the scores of the loss

    @property
    def total(self) -> float:
        """Sum it up; CUDA's own context and the allocator's gaps come on top (about 1 GiB and 5%)."""
        return float(sum(asdict(self).values()))


def memory_of(shape: Shape, way: Way) -> Memory:
    """Work out the bytes of one GPU. Raises TerminalSettingsError for a ZeRO stage that there is not."""
    if way.zero not in (0, 1, 2, 3):
        raise TerminalSettingsError(f"ZeRO has the stages 0 to 3, not {way.zero}.")
    trained = shape.parameters if way.rank is None else shape.adapters(way.rank, way.roles)
    shared = {stage: way.gpus if way.zero >= stage else 1 for stage in (1, 2, 3)}
    per_token, per_layer = kept_per_token(shape, way), _kept_of_layer(shape, way)
    again = 0.0 if way.checkpointing == "none" else per_layer
    return Memory(
        weights=shape.parameters * way.bytes_per_number / shared[3],
        trained=trained * (_FLOAT if way.rank is not None else 0) / shared[3],
        gradients=trained * _FLOAT / shared[2],
        # AdamW's two moments, and DeepSpeed's own float32 copy of what it moves.
        optimizer=trained * 3 * _FLOAT / shared[1],
        activations=way.held_tokens * per_token,
        working=way.chunk_tokens * (again + way.bytes_per_number * (shape.inner + 3 * shape.width)),
        vectors=_vectors(shape, way),
    )


def kept_per_token(shape: Shape, way: Way) -> float:
    """Bytes that stay for the backward pass, per token of a chunk, over all layers."""
    whole, edge = _kept_of_layer(shape, way), shape.width * way.bytes_per_number
    recomputed = {"none": 0, "selective": shape.layers // 2, "full": shape.layers}[way.checkpointing]
    # Pooling keeps the last states in float32, a decoder's last norm its input, trained embeddings theirs.
    ends = shape.width * _FLOAT * (1 + (not shape.bert) + (way.rank is None))
    return (shape.layers - recomputed) * whole + recomputed * edge + ends


def _kept_of_layer(shape: Shape, way: Way) -> float:
    """Bytes that one layer keeps per token. A frozen product keeps nothing of its input; a trained one, or an
    adapter, does."""
    size, width, inner, rank = way.bytes_per_number, shape.width, shape.inner, way.rank or 0
    attention = 4 * shape.heads * shape.head_width * size + shape.heads * _FLOAT  # q, k, v (repeated), result; log-sums
    adapted = rank * size * (3 if way.roles == "qkv" else 6 if shape.bert else 7)
    all_inputs = way.rank is None or way.roles == "all"
    # peft casts an input to the adapter's float32 and autocast casts it back, for each adapter anew.
    copies = 3 if size == 2 and way.rank is not None else 1
    inputs = copies * width * size
    if all_inputs:
        wide = 1 if shape.bert else (2 if copies == 3 else 1)
        inputs += (shape.heads * shape.head_width + wide * width + inner) * size
    if shape.bert:
        norms = 2 * width * size + 4 * _FLOAT
        return attention + adapted + inputs + norms + inner * size
    norms = 2 * width * (_FLOAT if size == 2 else size) + 2 * _FLOAT  # computed in float32
    return attention + adapted + inputs + norms + 3 * inner * size


def _vectors(shape: Shape, way: Way) -> float:
    """Both sides of the batch in float32, their gradient, and three matrices of scores."""
    texts = 2 * way.batch_pairs
    return _FLOAT * (2 * texts * shape.width + 3 * way.batch_pairs * texts)
