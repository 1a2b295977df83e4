"""The global batch: rows of all ranks on every rank, with gradient.

Every rank computes the same loss of the same global batch. The backward of a gather sums the ranks' gradients, so a
rank's rows get `world` times their gradient, and the average over ranks, which DeepSpeed and DDP take, is exact:
for the rows (sum over ranks of their own parts) and for the heads (all ranks have the same) alike.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")
Group = dist.ProcessGroup | None


def world_size(group: Group = None) -> int:
    """How many ranks share a batch; 1 where nothing is distributed."""
    return dist.get_world_size(group) if dist.is_available() and dist.is_initialized() else 1


def rank(group: Group = None) -> int:
    """This process's number, from 0."""
    return dist.get_rank(group) if world_size(group) > 1 else 0


def barrier() -> None:
    """Wait for the other ranks, where there are any."""
    if world_size() > 1:
        dist.barrier()


def of_first(value: T, device: torch.device) -> T:
    """Give every rank what the first found: on another machine an equal sum may differ in its last digit."""
    if world_size() == 1:
        return value
    held = [value]
    dist.broadcast_object_list(held, src=0, device=device)
    return held[0]


def gather_rows(rows: Tensor, group: Group = None) -> Tensor:
    """Lay the rows of all ranks end to end, by rank; the ranks may have different numbers of rows."""
    if world_size(group) == 1:
        return rows
    gathered: Tensor = _GatherRows.apply(rows, group)  # type: ignore[no-untyped-call]  # torch's
    return gathered


def row_counts(rows: int, device: torch.device, group: Group = None) -> list[int]:
    """Say how many rows each rank has."""
    if world_size(group) == 1:
        return [rows]
    counts = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(world_size(group))]
    dist.all_gather(counts, torch.tensor([rows], device=device), group=group)
    return [int(count) for count in counts]


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, group: Group) -> Tensor:  # noqa: ANN401  torch passes it
        counts = row_counts(len(rows), rows.device, group)
        own = rank(group)
        ctx.group, ctx.start, ctx.end = group, sum(counts[:own]), sum(counts[: own + 1])
        padded = rows.new_zeros((max(counts), *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded, group=group)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401 - autograd's
        grad = grads[0].contiguous().clone()
        dist.all_reduce(grad, group=ctx.group)
        return grad[ctx.start : ctx.end], None
