"""A whole run: phases of updates, with a log, checkpoints, and the reasons to stop."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from jude.errors import TerminalTrainingError
from jude.training.base import Base, chosen_device, find_base, open_model, open_tokeniser
from jude.training.checkpoints import Checkpoints
from jude.training.data import BatchMaker, Sampler, TokenisedPairs, read_pairs, tokenise
from jude.training.data.negatives import POSITIVE
from jude.training.engines import Engine, Optimiser, PlainEngine, ZeroEngine
from jude.training.gather import world_size
from jude.training.mining import Mined, mine
from jude.training.objective import Objective
from jude.training.schedule import Schedule
from jude.training.settings import PhaseSettings, TrainingSettings
from jude.training.step import Step, Update
from jude.training.towers import Towers

EngineKind = Literal["plain", "zero"]
Watch = Callable[[Towers], float]
"""nDCG@10 of the set that must not be forgotten, by the model as it is now."""


@dataclass(frozen=True, slots=True)
class Finished:
    """Where a run left its files, and how it went."""

    folder: Path
    adapter: Path
    updates: int
    skipped: int
    last_loss: float


class Trainer:
    """One rank of a run. Started again over the same folder it goes on where the last checkpoint stands."""

    def __init__(self, settings: TrainingSettings, folder: Path, engine: EngineKind = "plain") -> None:
        """Open the model and all data before the first update: what is wrong is told at once."""
        self._settings, self._folder, self._kind = settings, folder, engine
        self._rank = dist.get_rank() if world_size() > 1 else 0
        run = settings.run
        torch.manual_seed(run.seed)
        if run.threads:
            torch.set_num_threads(run.threads)
        self._base = find_base(settings.model.base)
        self._data = [self._read(phase, self._base) for phase in settings.phases]
        device = chosen_device(settings.model, self._rank)
        self.towers = Towers(open_model(self._base, settings.model, device), settings.model, settings.lora)
        self._width = int(self.towers.inner.config.hidden_size)  # type: ignore[union-attr, arg-type]
        self._checkpoints = Checkpoints(folder / "checkpoints", self._identity(), run.keep_checkpoints)
        self._log = folder / "log.jsonl"

    def run(self, watch: Watch | None = None, stop_after: int | None = None) -> Finished:
        """Train to the end (or until `stop_after` updates are done), and write the adapter.

        Raises TerminalTrainingError after too many skipped updates or when the watched set is forgotten.
        """
        state = dict(self._checkpoints.newest() or {"done": 0, "skipped": 0})
        self._forget_log_after(state["done"])
        last, first = math.nan, 0
        for phase, data in zip(self._settings.phases, self._data, strict=True):
            if state["done"] < first + phase.updates:
                with_state = _Phase(self, phase, data, first)
                last = with_state.run(state, watch, stop_after)
            first += phase.updates
            if stop_after is not None and state["done"] >= stop_after:
                break
        return Finished(self._folder, self._export(), state["done"], state["skipped"], last)

    def engine(self, objective: Objective) -> Engine:
        """Give a fresh optimizer over the adapters and the heads of a phase."""
        run = self._settings.run
        optimiser = Optimiser(run.weight_decay, run.clip_norm)
        heads = objective.trained()
        for parameter in objective.parameters():
            parameter.requires_grad_(any(parameter is p for p in heads))
        groups = optimiser.groups([p for p in self.towers.parameters() if p.requires_grad], heads)
        if self._kind == "plain":
            return PlainEngine(groups, optimiser)
        return ZeroEngine(nn.ModuleDict({"towers": self.towers, "objective": objective}), groups, optimiser)

    def log(self, line: dict[str, Any]) -> None:
        """Append one line of JSON; the first rank's only."""
        if self._rank == 0:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            with self._log.open("a") as file:
                file.write(json.dumps(line) + "\n")

    @property
    def checkpoints(self) -> Checkpoints:
        """The run's checkpoints."""
        return self._checkpoints

    @property
    def settings(self) -> TrainingSettings:
        """The run's settings."""
        return self._settings

    @property
    def width(self) -> int:
        """Numbers of one vector."""
        return self._width

    def _read(self, phase: PhaseSettings, base: Base) -> TokenisedPairs:
        pairs = read_pairs(Path(phase.pairs))
        label = pairs["label"].to_numpy()
        needs_both = phase.loss.bce > 0 or phase.loss.vp_weight > 0
        if needs_both and (label.min() == label.max()):
            raise TerminalTrainingError(
                f"{phase.pairs} holds the label {label.min():g} only; bce and vp need both classes. "
                "Add negatives, or set loss.bce and loss.vp_weight to 0."
            )
        if phase.loss.nce and label.max() < POSITIVE:
            raise TerminalTrainingError(f"{phase.pairs} holds no positive (label of {POSITIVE} or more) for InfoNCE.")
        name = f"{base.tokeniser_name} {self._settings.model.max_tokens} {sorted(self._settings.model.prompts.items())}"
        tokeniser = open_tokeniser(base, self._settings.model)
        return tokenise(pairs, tokeniser, tokeniser_name=name, cache=self._folder / "cache")

    def _identity(self) -> dict[str, Any]:
        return {
            "settings": self._settings.as_dict(),
            "data": [data.hash for data in self._data],
            "base": self._base.weights_hash,
            "ranks": world_size(),
            "engine": self._kind,
        }

    def _forget_log_after(self, done: int) -> None:
        """What was logged after the checkpoint will be done, and logged, again."""
        if self._rank == 0 and self._log.exists():
            lines = [line for line in self._log.read_text().splitlines() if json.loads(line)["update"] < done]
            self._log.write_text("".join(f"{line}\n" for line in lines))

    def _export(self) -> Path:
        adapter = self._folder / "adapter"
        if self._rank == 0:
            self.towers.adapted.save_pretrained(adapter)
            about = {"identity": self._identity(), "base": self._base.name}
            (adapter / "jude_training.json").write_text(json.dumps(about, indent=1))
        return adapter


class _Phase:
    """One phase: its objective, its optimizer, its schedule."""

    def __init__(self, trainer: Trainer, phase: PhaseSettings, data: TokenisedPairs, first: int) -> None:
        batch = trainer.settings.batch
        device = next(trainer.towers.parameters()).device
        self._trainer, self._phase, self._data, self._first = trainer, phase, data, first
        self._objective = Objective(phase.loss, data, trainer.width).to(device)
        self._engine = trainer.engine(self._objective)
        self._schedule = Schedule(phase.lr, phase.updates, phase.warmup, phase.ratio, phase.schedule)
        self._sampler = Sampler(data.pairs, batch.pairs, trainer.settings.run.seed, batch.mixing_temperature)
        self._maker = BatchMaker(data, mask_false_negatives=phase.loss.mask_false_negatives)
        self._step = Step(trainer.towers, self._objective, self._engine, data, batch.chunk_tokens)
        self._mined: Mined | None = None

    def run(self, state: dict[str, Any], watch: Watch | None, stop_after: int | None) -> float:
        """Do the phase's updates from where `state` stands; give the last loss."""
        run, end = self._trainer.settings.run, self._first + self._phase.updates
        if state["done"] > self._first:
            self._trainer.checkpoints.restore(self._engine)
            self._mined = Mined.read(self._trainer.checkpoints.all()[-1])
        start = watch(self._trainer.towers) if watch else None
        in_a_row, loss = 0, math.nan
        while state["done"] < end and state["done"] != stop_after:
            update = self._update(state["done"])
            loss, in_a_row = update.loss, in_a_row + 1 if update.skipped else 0
            state["done"] += 1
            state["skipped"] += update.skipped
            if in_a_row >= run.most_skipped:
                raise TerminalTrainingError(
                    f"{in_a_row} updates in a row were not finite (the last: number {state['done'] - 1} of phase "
                    f"{self._phase.name}, loss {loss}). Lower lr, or look at the data of these updates in log.jsonl."
                )
            if state["done"] % run.save_every == 0 or state["done"] == end:
                self._trainer.checkpoints.save(self._engine, state, self._mined)
            if watch and start is not None and state["done"] % run.watch_every == 0:
                self._require_remembered(start, watch(self._trainer.towers), state["done"])
        return loss

    def _update(self, number: int) -> Update:
        began = time.perf_counter()
        here = number - self._first
        batch = self._maker.batch(rows := self._sampler.rows(here), self._hard_negatives(here, rows))
        measured = number % self._trainer.settings.run.log_every == 0
        rate = self._schedule.rate(here)
        update = self._step(batch, rate, measure_terms=measured)
        if measured or update.skipped:
            seconds = time.perf_counter() - began
            self._trainer.log(
                {
                    "update": number,
                    "phase": self._phase.name,
                    "rate": rate,
                    "loss": update.loss,
                    **{f"loss_{name}": value for name, value in update.terms.items()},
                    **{f"gradient_{name}": value for name, value in update.term_norms.items()},
                    "gradient_norm": update.gradient_norm,
                    "skipped": update.skipped,
                    "tokens_per_second": round(batch.real_tokens / seconds, 1),
                }
            )
        return update

    def _hard_negatives(self, here: int, rows: np.ndarray[Any, np.dtype[np.int64]]) -> Any:  # noqa: ANN401
        batch = self._trainer.settings.batch
        if not batch.hard_negatives:
            return None
        if self._mined is None or here % batch.mine_every == 0:
            self._mined = mine(
                self._trainer.towers, self._data, batch.hard_negatives, batch.mining_margin, batch.chunk_tokens
            )
        return self._mined.of(self._data.query[rows])

    def _require_remembered(self, start: float, now: float, done: int) -> None:
        self._trainer.log({"update": done - 1, "phase": self._phase.name, "watched_ndcg_at_10": now})
        if now < start - self._trainer.settings.run.forgetting:
            raise TerminalTrainingError(
                f"The watched set fell from nDCG@10 {start:.4f} to {now:.4f} after {done} updates, more than "
                f"run.forgetting ({self._trainer.settings.run.forgetting}) allows. The checkpoints before are kept: "
                "lower lr, mix relevance pairs into the phase, or allow more."
            )
