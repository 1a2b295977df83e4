"""What the ranks of test_ranks.py do: `python -m tests.training.ranks OUT` forks them and writes OUT/<rank>.pt."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from jude.training.engines import EngineKind
from jude.training.gather import gather_rows
from tests.training.forking import fork_ranks
from tests.training.killed import killed_and_resumed, two_phases
from tests.training.tiny import EVERY_TERM, random_data, step_of, tiny_towers, whole_batch

UPDATES = 3
RANKS = 4


def updated(kind: EngineKind, group: dist.ProcessGroup | None, chunk_tokens: int) -> dict[str, object]:
    """Three updates; give the terms of each, the norms of all and of each term, and the weights after them."""
    data, towers = random_data(), tiny_towers()
    step, objective = step_of(towers, data, EVERY_TERM, chunk_tokens, engine=kind, group=group)
    updates = [step(whole_batch(data), rate=0.01, measure_terms=True) for _ in range(UPDATES)]
    weights = [p.detach().flatten() for p in [*towers.parameters(), *objective.trained()] if p.requires_grad]
    return {
        "terms": [update.terms for update in updates],
        "norms": [update.gradient_norm for update in updates],
        "term_norms": [norm for update in updates for norm in update.term_norms.values()],
        "weights": torch.cat(weights),
    }


def gradients_of_pairs(group: dist.ProcessGroup) -> dict[str, Tensor]:
    """Encode shares on the ranks of a group; the averaged gradient of all terms."""
    data, towers = random_data(), tiny_towers()
    step, objective = step_of(towers, data, EVERY_TERM, 60, group=group)
    cached, terms, _ = step.encode(whole_batch(data))
    step._push(cached, torch.stack(list(terms.values())).sum())
    trained = [p for p in towers.parameters() if p.requires_grad] + objective.trained()
    grad = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in trained])
    dist.all_reduce(grad, group=group)
    return {"grad": grad / dist.get_world_size(group), **{name: term.detach() for name, term in terms.items()}}


def gathered(group: dist.ProcessGroup) -> dict[str, Tensor]:
    """Ranks with 1, 2, 3, ... rows; each rank's own loss takes all rows times its weight."""
    rank = dist.get_rank(group)
    rows = torch.full((rank + 1, 2), float(rank), requires_grad=True)
    everything = gather_rows(rows, group)
    (everything.sum() * (rank + 1)).backward()
    assert rows.grad is not None
    return {"rows": everything.detach(), "grad": rows.grad}


def be_rank(rank: int, out: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    everyone, two = dist.group.WORLD, dist.new_group([0, 1])
    assert everyone is not None
    found: dict[str, object] = {"gathered": gathered(everyone), "four": gradients_of_pairs(everyone)}
    if rank < 2:
        found["two"] = gradients_of_pairs(two)
    dist.barrier()
    found["plain"] = updated("plain", None, 60)
    found["zero"] = updated("zero", None, 60)
    torch.save(found, out / f"{rank}.pt")
    dist.destroy_process_group()


def main(out: Path) -> None:
    """Import once, then fork: four times the imports would be most of the test."""
    os.environ["DS_ACCELERATOR"] = "cpu"
    # muon_optimizer: with ZeRO comes torch's compiler
    for name in ("deepspeed.runtime.zero.muon.muon_optimizer", "peft", "transformers.models.bert.modeling_bert"):
        import_module(name)
    ended = fork_ranks(RANKS, lambda rank: be_rank(rank, out))
    assert [status for status, _ in ended] == [0] * RANKS
    killed_and_resumed(out)
    two_phases(out)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
