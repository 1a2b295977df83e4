"""A whole run: its phases, what may go wrong before the first update, and the adapter at the end."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from jude.encoder.tokenising import bos_id
from jude.errors import TerminalTrainingError
from jude.training.base import Base, chosen_device, find_base, open_model, open_tokeniser
from jude.training.checkpoints import Checkpoints
from jude.training.data import Sampler, TokenisedPairs, read_pairs, tokenise
from jude.training.data.joined import joined
from jude.training.data.negatives import POSITIVE
from jude.training.data.pairs import data_hash
from jude.training.data.scores import with_scores
from jude.training.engines import EngineKind
from jude.training.gather import rank, world_size
from jude.training.heads import HEADS
from jude.training.objective import beside_labels
from jude.training.phase import Phase, Run, Watch
from jude.training.run_log import RunLog
from jude.training.settings import PhaseSettings, TrainingSettings
from jude.training.towers import Towers
from jude.training.writing import written


@dataclass(frozen=True, slots=True)
class Finished:
    """Where a run left its files, and how it went."""

    folder: Path
    adapter: Path
    updates: int
    skipped: int
    last_loss: float | None


class Trainer:
    """One rank of a run. Started again over the same folder it goes on where the last checkpoint stands."""

    def __init__(self, settings: TrainingSettings, folder: Path, engine: EngineKind = "plain") -> None:
        """Open the model and all data before the first update: what is wrong is told at once."""
        self._settings, self._folder, self._kind = settings, folder, engine
        torch.manual_seed(settings.run.seed)
        if settings.run.threads:
            torch.set_num_threads(settings.run.threads)
        device = chosen_device(settings.model, rank())
        self._base = find_base(settings.model.base)
        self._data = [_read(phase, settings, self._base, folder / "cache") for phase in settings.phases]
        self._watched = data_hash(read_pairs(Path(settings.run.watch))) if settings.run.watch else None
        model = replace(settings.model, mask=settings.model.mask or self._base.mask)
        self.towers = Towers(open_model(self._base, model, device), model, settings.lora)
        checkpoints = Checkpoints(folder / "checkpoints", self._identity(), settings.run.keep_checkpoints)
        log = RunLog(folder / "log.jsonl", writes=rank() == 0)
        self._heads: dict[str, torch.Tensor] = {}
        self._run = Run(settings, self.towers, checkpoints, log, engine)

    def run(self, watch: Watch | None = None, stop_after: int | None = None) -> Finished:
        """Train to the end (or until `stop_after` updates are done), and write the adapter.

        Raises TerminalTrainingError after too many skipped updates or when the watched set is forgotten.
        """
        state = self._run.checkpoints.newest()
        self._run.log.forget_after(state.done)
        # A phase that had just ended has nothing left to do, but holds the weights that the next one goes on from.
        resumed, first = state.done, 0
        for phase, data in zip(self._settings.phases, self._data, strict=True):
            end = first + phase.updates
            if state.done < end or resumed == end:
                running = Phase(self._run, phase, data, first)
                running.run(state, watch, stop_after)
                self._heads = running.heads
            first = end
            if stop_after is not None and state.done >= stop_after:
                break
        return Finished(self._folder, self._export(), state.done, state.skipped, state.loss)

    def _identity(self) -> dict[str, Any]:
        return {
            "settings": self._settings.as_dict(),
            "data": [data.hash for data in self._data],
            "watched": self._watched,
            "base": self._base.weights_hash,
            "ranks": world_size(),
            "engine": self._kind,
        }

    def _export(self) -> Path:
        adapter = self._folder / "adapter"
        if rank() == 0:
            with written(adapter):
                self._write(adapter)
        return adapter

    def _write(self, adapter: Path) -> None:
        # A model between base and tuned often loses little of what was learned (arXiv:2109.01903).
        lora = self._settings.lora
        self.towers.adapted.peft_config["default"].lora_alpha = lora.alpha * lora.strength
        self.towers.adapted.save_pretrained(adapter)
        torch.save(self._heads, adapter / HEADS)
        about = {"identity": self._identity(), "base": self._base.name}
        (adapter / "jude_training.json").write_text(json.dumps(about, indent=1))


def _read(phase: PhaseSettings, settings: TrainingSettings, base: Base, cache: Path) -> TokenisedPairs:
    pairs = read_pairs(Path(phase.pairs))
    if phase.scores is not None:
        pairs = with_scores(pairs, Path(phase.scores), phase.teacher)
    _require_what_is_needed(phase, settings, pairs)
    name = f"{base.tokeniser_name} {settings.model.max_tokens} {sorted(settings.model.prompts.items())}"
    data = tokenise(pairs, open_tokeniser(base, settings.model), tokeniser_name=name, cache=cache)
    if settings.model.kind == "two_towers":
        return data
    return joined(data, settings.model.max_tokens, bos_id(base.tokeniser_file))


def _require_what_is_needed(phase: PhaseSettings, settings: TrainingSettings, pairs: pa.Table) -> None:
    """Raise TerminalTrainingError now for what the phase would find missing when its turn comes."""
    label, loss, batch = pairs["label"].to_numpy(), phase.loss, settings.batch
    if (loss.bce > 0 or loss.vp_weight > 0) and label.min() == label.max():
        raise TerminalTrainingError(
            f"{phase.pairs} holds the label {label.min():g} only; bce and vp need both classes. "
            "Add negatives, or set loss.bce and loss.vp_weight to 0."
        )
    needs_positive = {"InfoNCE": loss.nce, "loss.margin": loss.margin, "batch.hard_negatives": batch.hard_negatives}
    if (needing := [name for name, used in needs_positive.items() if used]) and label.max() < POSITIVE:
        raise TerminalTrainingError(
            f"{phase.pairs} holds no positive (label of {POSITIVE} or more) for {', '.join(needing)}."
        )
    if (loss.kd or loss.margin) and "list" not in pairs.column_names:
        raise TerminalTrainingError(
            f"{phase.pairs} has no column list: loss.kd and loss.margin compare the candidates of a query, and a batch "
            "holds them together by their list. Make lists (jude.training.lists), or set both weights to 0."
        )
    beside_labels(pairs, loss)
    Sampler(pairs, batch.pairs, settings.run.seed, batch.mixing_temperature)
