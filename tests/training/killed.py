"""A run of two ranks under ZeRO-1 that loses one to kill -9, and goes on; beside it the run that lost none."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.distributed as dist

from jude.training import phase
from jude.training.launch import _join
from jude.training.mining import Mined, mine
from jude.training.phase import Watch
from jude.training.settings import (
    BatchSettings,
    LoraSettings,
    LossSettings,
    ModelSettings,
    PhaseSettings,
    RunSettings,
    TrainingSettings,
)
from jude.training.towers import Towers
from jude.training.trainer import Trainer
from tests.encoder.tiny import build
from tests.training.forking import fork_ranks
from tests.training.sentences import sentences

RANKS, UPDATES, KILLED_AFTER = 2, 6, 5  # the newest checkpoint is that of update 4


def settings_in(out: Path) -> TrainingSettings:
    return TrainingSettings(
        model=ModelSettings(base=str(out / "base"), max_tokens=16, device="cpu"),
        lora=LoraSettings(rank=2, dropout=0.1),
        batch=BatchSettings(pairs=4, hard_negatives=1, mine_every=3),
        run=RunSettings(log_every=1, save_every=2, watch_every=1),
        phases=(PhaseSettings("relevance", str(out / "pairs.parquet"), UPDATES, lr=0.01),),
    )


def killed_and_resumed(out: Path) -> None:
    """Write killed.json: how the survivor ended, and how many seconds after the kill."""
    build("bert", out / "base")
    pq.write_table(sentences([f"w{n} w{n + 30}" for n in range(8)]), out / "pairs.parquet")
    assert [status for status, _ in fork_ranks(RANKS, train(out, "whole"))] == [0, 0]
    (survivor, at), (killed, killed_at) = fork_ranks(RANKS, train(out, "parts", killed_after=KILLED_AFTER))
    facts = {"survivor": os.waitstatus_to_exitcode(survivor), "killed": os.waitstatus_to_exitcode(killed)}
    saved = sorted(folder.name for folder in (out / "parts" / "checkpoints").glob("step-*"))
    facts_of_kill = {**facts, "seconds": at - killed_at, "newest": saved[-1]}
    assert [status for status, _ in fork_ranks(RANKS, train(out, "parts"))] == [0, 0]
    (out / "killed.json").write_text(json.dumps(facts_of_kill))


def two_phases(out: Path) -> None:
    """Write the heads of each rank's second phase; the first has dropped other numbers on each."""
    pairs = sentences([" ".join(f"w{n + m}" for m in range(n + 1)) for n in range(8)])
    pq.write_table(pairs.set_column(4, "label", pa.array([1.0, 0.0] * 4, pa.float32())), out / "labelled.parquet")
    loss = LossSettings(bce=1.0, head="hadamard_mlp")
    phases = tuple(PhaseSettings(name, str(out / "labelled.parquet"), 2, loss=loss) for name in ("one", "two"))

    def be_rank(rank: int) -> None:
        torch.set_num_threads(1)
        _join("cpu")
        trainer = Trainer(replace(settings_in(out), phases=phases), out / "phases")
        trainer.run()
        torch.save(trainer._heads, out / f"heads-{rank}.pt")
        dist.destroy_process_group()

    assert [status for status, _ in fork_ranks(RANKS, be_rank)] == [0, 0]


def train(out: Path, name: str, killed_after: int | None = None) -> Callable[[int], None]:
    def be_rank(rank: int) -> None:
        torch.set_num_threads(1)
        _join("cpu")
        if name == "parts" and rank == 1:
            vars(phase)["mine"] = _mined_elsewhere
        trainer = Trainer(settings_in(out), out / name, "zero")
        trainer.run(_counting(killed_after if rank == 1 else None, rank))
        hooks = [len(p._post_accumulate_grad_hooks or ()) for p in trainer.towers.parameters() if p.requires_grad]
        torch.save(hooks, out / name / f"hooks-{rank}.pt")
        dist.destroy_process_group()

    return be_rank


def _mined_elsewhere(*arguments: Any) -> Mined:
    """What a machine may find whose sums differ in the last digit: other negatives."""
    found = mine(*arguments)
    return Mined(found.queries, found.documents[::-1])


def _counting(killed_after: int | None, rank: int) -> Watch:
    """Watch nothing (the second rank finds less and less); end this process without a word after so many updates."""
    calls = -1  # the first is made before the first update

    def watch(_: Towers) -> float:
        nonlocal calls
        calls += 1
        if calls == killed_after:
            time.sleep(0.2)  # let the other rank finish writing its line
            os.kill(os.getpid(), signal.SIGKILL)
        return 1.0 - rank * calls / 10

    return watch
