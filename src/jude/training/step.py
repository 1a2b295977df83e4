"""One update: encode this rank's share, compute the loss of the global batch, push its gradient, move the weights."""

# U distinct inputs of this rank, D width

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from jude.training.cached_backward import CachedBackward
from jude.training.data.batches import Batch
from jude.training.data.tokenised import TokenisedPairs
from jude.training.engines import Engine
from jude.training.gather import Group, gather_rows, rank, world_size
from jude.training.losses.composite import gradient_norms, weigh
from jude.training.objective import Objective
from jude.training.settings import BatchSettings
from jude.training.towers import Towers


@dataclass(frozen=True, slots=True)
class Update:
    """What one update did; equal on every rank."""

    loss: float
    terms: dict[str, float]
    gradient_norm: float  # of all trained parameters before clipping; nan where the update was skipped
    skipped: bool
    term_norms: dict[str, float] = field(default_factory=dict)  # of each weighted term, at the batch's vectors


class Step:
    """Joins towers, objective and engine. With 1, 2 or 4 ranks and any chunk size the update is the same."""

    def __init__(
        self,
        towers: Towers,
        objective: Objective,
        engine: Engine,
        data: TokenisedPairs,
        batch: BatchSettings,
        group: Group = None,
    ) -> None:
        """How `batch` cuts forward passes and what it keeps decides on memory and time, not on the update."""
        self._towers, self._objective, self._engine, self._data = towers, objective, engine, data
        self._settings, self._group = batch, group

    def __call__(self, batch: Batch, rate: float, *, measure_terms: bool = False) -> Update:
        """Do one update, or skip it on every rank when any gradient of any rank is not finite."""
        engine = self._engine
        cached, terms, norms = self.encode(batch, measure_terms=measure_terms)
        total = weigh(terms, self._objective.weights)
        with engine.exchange():
            self._push(cached, total)
            skipped = self._anywhere(not self._finite(total))
            if skipped:
                engine.drop()
        norm = float("nan")
        if skipped:
            engine.drop()
        else:
            norm = engine.step(rate)
        return Update(total.item(), {name: term.item() for name, term in terms.items()}, norm, skipped, norms)

    def encode(
        self, batch: Batch, *, measure_terms: bool = False
    ) -> tuple[CachedBackward, dict[str, Tensor], dict[str, float]]:
        """Encode this rank's share of the batch and compute all terms of the global one."""
        shares = batch.shares(world_size(self._group))
        places = shares[rank(self._group)]

        def encode(rows: NDArray[np.int64]) -> Tensor:
            vectors: Tensor = self._towers([self._data.token_ids(int(n)) for n in batch.inputs[places[rows]]])
            return vectors

        chunks = batch.chunks(places, self._settings.chunk_tokens)
        cached = CachedBackward(encode, chunks, self._kept(batch, places, chunks))
        back = torch.from_numpy(np.argsort(np.concatenate(shares), kind="stable")).to(cached.vectors_UD.device)
        vectors_UD = gather_rows(cached.vectors_UD, self._group)[back]
        terms: dict[str, Tensor] = self._objective(vectors_UD, batch)
        norms = gradient_norms(terms, self._objective.weights, vectors_UD) if measure_terms else {}
        return cached, terms, norms

    def _kept(self, batch: Batch, places: NDArray[np.int64], chunks: list[NDArray[np.int64]]) -> int:
        """Count the chunks, from the last, whose states fit into `kept_tokens` together."""
        tokens = np.cumsum([int(batch.lengths[places[rows]].sum()) for rows in reversed(chunks)])
        return int((tokens <= self._settings.kept_tokens).sum())

    def _push(self, cached: CachedBackward, total: Tensor) -> None:
        heads = self._objective.trained()
        # A batch without a positive does not reach a learned temperature: its gradient is 0 then.
        grad_UD, *grads = torch.autograd.grad(total, [cached.vectors_UD, *heads], materialize_grads=True)
        # The heads' gradients go through the engine, too: a surrogate whose gradient they are.
        extra = torch.stack([(p * g).sum() for p, g in zip(heads, grads, strict=True)]).sum() if heads else None
        cached.push(grad_UD, self._engine.backward, extra)

    def _finite(self, total: Tensor) -> bool:
        parameters = [*self._towers.parameters(), *self._objective.trained()]
        grads = [p.grad for p in parameters if p.grad is not None]
        sums = torch.stack([total.detach().double(), *(grad.double().sum() for grad in grads)])
        return bool(torch.isfinite(sums).all())

    def _anywhere(self, here: bool) -> bool:
        if world_size(self._group) == 1:
            return here
        found = torch.tensor([float(here)], device=next(self._towers.parameters()).device)
        dist.all_reduce(found, op=dist.ReduceOp.MAX, group=self._group)
        return bool(found)
