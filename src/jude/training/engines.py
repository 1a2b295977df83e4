"""Who keeps the optimizer: this process alone, ranks that average their gradients, or DeepSpeed's ZeRO-1."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from jude.training.gather import rank, world_size
from jude.training.objective import Objective
from jude.training.settings import RunSettings
from jude.training.towers import Towers

EngineKind = Literal["plain", "zero"]
Parameters = list[dict[str, Any]]
"""Groups as torch.optim takes them."""
_MOST_IN_A_BUCKET = 500_000_000  # numbers that ranks exchange at once


class Engine(Protocol):
    """What a step needs of an optimizer."""

    def exchange(self) -> AbstractContextManager[None]:
        """Hold all backward calls of one update; on leaving, ranks have averaged their gradients, once."""
        ...

    def backward(self, loss: Tensor) -> None: ...

    def drop(self) -> None:
        """Forget the gradients of this update; inside `exchange`."""
        ...

    def step(self, rate: float) -> float:
        """Clip, move the weights, forget the gradients; give the norm before clipping."""
        ...

    def save(self, folder: Path) -> None: ...

    def load(self, folder: Path) -> None: ...

    def close(self) -> None:
        """Let go of the parameters: the next phase brings an engine of its own."""
        ...


class PlainEngine:
    """AdamW in this process; where ranks are many, each keeps all of the state."""

    def __init__(self, groups: Parameters, clip_norm: float) -> None:
        self._optimizer = torch.optim.AdamW(groups, lr=0.0)
        self._parameters = [p for group in groups for p in group["params"]]
        self._clip_norm = clip_norm

    @contextmanager
    def exchange(self) -> Iterator[None]:
        """Average over ranks in one message."""
        yield
        if world_size() == 1:
            return
        for parameter in self._parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        grads = torch.cat([p.grad.reshape(-1) for p in self._parameters if p.grad is not None])
        dist.all_reduce(grads)
        sizes = [parameter.numel() for parameter in self._parameters]
        for parameter, grad in zip(self._parameters, torch.split(grads / world_size(), sizes), strict=True):
            parameter.grad = grad.view_as(parameter)

    def backward(self, loss: Tensor) -> None:
        """Add to the gradients."""
        torch.autograd.backward(loss)

    def drop(self) -> None:
        """Forget the gradients."""
        self._optimizer.zero_grad()

    def step(self, rate: float) -> float:
        """Clip and move."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        norm = nn.utils.clip_grad_norm_(self._parameters, self._clip_norm)
        self._optimizer.step()
        self._optimizer.zero_grad()
        return float(norm)

    def save(self, folder: Path) -> None:
        """Write weights and moments; ranks hold the same, so the first writes."""
        if rank() == 0:
            state = {"weights": [p.detach() for p in self._parameters], "optimizer": self._optimizer.state_dict()}
            torch.save(state, folder / "plain.pt")

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        state = torch.load(folder / "plain.pt", weights_only=True)
        with torch.no_grad():
            for parameter, value in zip(self._parameters, state["weights"], strict=True):
                parameter.copy_(value)
        self._optimizer.load_state_dict(state["optimizer"])

    def close(self) -> None:
        """Nothing holds on to them."""


class ZeroEngine:
    """DeepSpeed's ZeRO-1: each rank keeps a part of the optimizer's state.

    Adapters and heads stay float32, whatever the frozen base is in: DeepSpeed's own bf16 mode would cast the heads,
    and its keep_in_fp32_modules covers buffers only. So DeepSpeed is told nothing of bfloat16; autocast does it.
    """

    def __init__(self, model: nn.Module, groups: Parameters, clip_norm: float) -> None:
        """Start DeepSpeed over an initialised process group; asserts that no parameter changed its dtype."""
        import deepspeed

        # Minutes of C++ compilation at the first run, for a message that gloo sends in milliseconds.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        before = {name: p.dtype for name, p in model.named_parameters()}
        self._parameters = [p for group in groups for p in group["params"]]
        config = {
            "train_micro_batch_size_per_gpu": 1,  # DeepSpeed only multiplies with it; our batches are global
            "gradient_accumulation_steps": 1,
            "gradient_clipping": clip_norm,
            # Its buffer is there whether or not it is filled: 2 GB by default, where adapters take 0.1.
            "zero_optimization": {
                "stage": 1,
                "overlap_comm": False,
                "reduce_bucket_size": min(_MOST_IN_A_BUCKET, sum(p.numel() for p in self._parameters)),
            },
            "zero_allow_untested_optimizer": True,
            "steps_per_print": 1_000_000_000,
        }
        self._engine, self._optimizer, _, _ = deepspeed.initialize(
            model=model, optimizer=torch.optim.AdamW(groups, lr=0.0), config=config, dist_init_required=False
        )
        after = {name: p.dtype for name, p in self._engine.module.named_parameters()}
        assert before == after, "DeepSpeed changed the dtype of a parameter"

    def exchange(self) -> AbstractContextManager[None]:
        """One reduction for all chunks: by default each backward call would send its own."""
        found: AbstractContextManager[None] = self._engine.coalesce_grad_reduction()
        return found

    def backward(self, loss: Tensor) -> None:
        """Add to the gradients."""
        self._engine.backward(loss, scale_wrt_gas=False)

    def drop(self) -> None:
        """Make the gradients zero: DeepSpeed's exchange goes over all of them."""
        for parameter in self._parameters:
            parameter.grad = torch.zeros_like(parameter)

    def step(self, rate: float) -> float:
        """Clip and move."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._engine.step()
        return float(self._engine.get_global_grad_norm() or 0.0)

    def save(self, folder: Path) -> None:
        """Write the weights and each rank's part of the moments."""
        self._engine.save_checkpoint(str(folder), tag="zero", exclude_frozen_parameters=True, save_latest=False)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote; the world must be as large as it was."""
        self._engine.load_checkpoint(str(folder), tag="zero", load_module_strict=False)

    def close(self) -> None:
        """Take DeepSpeed's hooks off: they would fill buffers of this phase in every backward pass of the next."""
        self._engine.destroy()


def open_engine(kind: EngineKind, towers: Towers, objective: Objective, run: RunSettings) -> Engine:
    """Give a fresh optimizer over the adapters, and over what of the heads the objective reaches.

    Scales, biases and temperatures are not decayed.
    """
    heads = objective.trained()
    for parameter in objective.parameters():
        parameter.requires_grad_(any(parameter is p for p in heads))
    adapters = [p for p in towers.parameters() if p.requires_grad]
    groups = [{"params": adapters, "weight_decay": run.weight_decay}, {"params": heads, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    if kind == "plain":
        return PlainEngine(groups, run.clip_norm)
    return ZeroEngine(nn.ModuleDict({"towers": towers, "objective": objective}), groups, run.clip_norm)
