"""One phase of a run: its objective, its optimizer and its schedule start anew, the weights carry over."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from jude.errors import TerminalTrainingError
from jude.training.checkpoints import Checkpoints, State
from jude.training.data import BatchMaker, Sampler, TokenisedPairs
from jude.training.engines import EngineKind, open_engine
from jude.training.gather import of_first
from jude.training.memory import peak_mib
from jude.training.mining import Mined, mine
from jude.training.objective import Objective
from jude.training.run_log import RunLog
from jude.training.schedule import Schedule
from jude.training.settings import PhaseSettings, TrainingSettings
from jude.training.step import Step, Update
from jude.training.towers import Towers

Ints = NDArray[np.int64]
Watch = Callable[[Towers], float]
"""nDCG@10 of the set that must not be forgotten, by the model as it is now."""


@dataclass(frozen=True, slots=True)
class Run:
    """What the phases of a run share, on one rank."""

    settings: TrainingSettings
    towers: Towers
    checkpoints: Checkpoints
    log: RunLog
    engine: EngineKind


class Phase:
    """One of `phases`; its updates are numbered on from `first`."""

    def __init__(self, run: Run, phase: PhaseSettings, data: TokenisedPairs, first: int) -> None:
        """Raises TerminalTrainingError where the pairs lack what the loss needs."""
        batch, towers = run.settings.batch, run.towers
        self._run, self._phase, self._data, self._first = run, phase, data, first
        self._objective = Objective(phase.loss, data, towers.width)
        # The dropout of a phase before has drawn differently on each rank, and a head begins at random.
        self._objective.load_state_dict(of_first(self._objective.state_dict(), towers.device))
        self._objective.to(towers.device)
        self._engine = open_engine(run.engine, towers, self._objective, run.settings.run)
        self._schedule = Schedule(phase.lr, phase.updates, phase.warmup, phase.ratio, phase.schedule)
        self._sampler = Sampler(data.pairs, batch.pairs, run.settings.run.seed, batch.mixing_temperature)
        self._maker = BatchMaker(data, mask_false_negatives=phase.loss.mask_false_negatives)
        self._step = Step(towers, self._objective, self._engine, data, batch)
        self._mined: Mined | None = None

    @property
    def heads(self) -> dict[str, Tensor]:
        """Head and temperature as they are now."""
        return {name: tensor.detach().cpu() for name, tensor in self._objective.state_dict().items()}

    def run(self, state: State, watch: Watch | None, stop_after: int | None) -> None:
        """Do the phase's updates from where `state` stands.

        Raises TerminalTrainingError after too many skipped updates or when the watched set is forgotten.
        """
        if state.done > self._first:
            self._run.checkpoints.restore(self._engine)
            self._mined = Mined.read(self._run.checkpoints.all()[-1])
        elif watch:
            state.watched = of_first(watch(self._run.towers), self._run.towers.device)
        in_a_row, end = 0, self._first + self._phase.updates
        while state.done < end and state.done != stop_after:
            update = self._update(state.done)
            in_a_row = in_a_row + 1 if update.skipped else 0
            state.done += 1
            state.skipped += update.skipped
            state.loss = state.loss if update.skipped else update.loss
            self._require_finite(in_a_row, state.done, update.loss)
            if watch and (state.done % self._run.settings.run.watch_every == 0 or state.done == end):
                self._require_remembered(state, of_first(watch(self._run.towers), self._run.towers.device))
            if state.done % self._run.settings.run.save_every == 0 or state.done == end:
                self._run.checkpoints.save(self._engine, state, self._mined)
        self._engine.close()

    def _update(self, number: int) -> Update:
        began = time.perf_counter()
        here = number - self._first
        rows = self._sampler.rows(here)
        batch = self._maker.batch(rows, self._hard_negatives(here, rows))
        measured = number % self._run.settings.run.log_every == 0
        rate = self._schedule.rate(here)
        update = self._step(batch, rate, measure_terms=measured)
        if measured or update.skipped:
            rate_of_tokens = round(batch.real_tokens / (time.perf_counter() - began), 1)
            place = {"update": number, "phase": self._phase.name, "rate": rate}
            spent = {"tokens_per_second": rate_of_tokens, "memory_mib": peak_mib()}
            self._run.log.add({**place, **_facts(update), **spent})
        return update

    def _hard_negatives(self, here: int, rows: Ints) -> Ints | None:
        batch = self._run.settings.batch
        if not batch.hard_negatives:
            return None
        if self._mined is None or here % batch.mine_every == 0:
            towers = self._run.towers
            found = mine(towers, self._data, batch.hard_negatives, batch.mining_margin, batch.chunk_tokens)
            self._mined = of_first(found, towers.device)
        return self._mined.of(self._data.query[rows])

    def _require_finite(self, in_a_row: int, done: int, loss: float) -> None:
        if in_a_row >= self._run.settings.run.most_skipped:
            raise TerminalTrainingError(
                f"{in_a_row} updates in a row were not finite (the last: number {done - 1} of phase "
                f"{self._phase.name}, loss {loss}). Lower lr, or look at the data of these updates in log.jsonl."
            )

    def _require_remembered(self, state: State, now: float) -> None:
        self._run.log.add({"update": state.done - 1, "phase": self._phase.name, "watched_ndcg_at_10": now})
        allowed = self._run.settings.run.forgetting
        if state.watched is not None and now < state.watched - allowed:
            raise TerminalTrainingError(
                f"The watched set fell from nDCG@10 {state.watched:.4f} to {now:.4f} after {state.done} updates, more "
                f"than run.forgetting ({allowed}) allows. The checkpoints before are kept: lower lr, mix relevance "
                "pairs into the phase, or allow more."
            )


def _facts(update: Update) -> dict[str, Any]:
    return {
        "loss": update.loss,
        **{f"loss_{name}": value for name, value in update.terms.items()},
        **{f"gradient_{name}": value for name, value in update.term_norms.items()},
        "gradient_norm": update.gradient_norm,
        "skipped": update.skipped,
    }
