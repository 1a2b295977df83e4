"""Stop and go on exactly: a checkpoint is whole or not there, and belongs to one run."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jude.errors import TerminalTrainingError
from jude.training.engines import Engine
from jude.training.gather import barrier, rank
from jude.training.mining import Mined
from jude.training.writing import written


@dataclass(slots=True)
class State:
    """How far a run is: what a checkpoint keeps besides weights and randomness."""

    done: int = 0  # updates, over all phases
    skipped: int = 0
    loss: float | None = None  # of the last update that was not skipped
    watched: float | None = None  # nDCG@10 of the watched set when the phase began


class Checkpoints:
    """The checkpoints of a run folder: `step-00000100`, newest last."""

    def __init__(self, folder: Path, identity: Mapping[str, Any], keep: int = 2) -> None:
        """`identity`: settings, data hash, world size, base: what a run must have in common with its checkpoint."""
        self._folder, self._identity, self._keep = folder, dict(identity), keep

    def save(self, engine: Engine, state: State, mined: Mined | None = None) -> Path:
        """Write beside the older ones, then move into place; on a full disk the older ones stay.

        Raises TransientTrainingError when it could not be written.
        """
        made = self._folder / f"step-{state.done:08d}"
        unfinished = self._folder / f"unfinished-{state.done:08d}"
        with written(made):
            if rank() == 0:
                shutil.rmtree(unfinished, ignore_errors=True)
                unfinished.mkdir(parents=True)
        barrier()
        with written(made):
            self._write(unfinished, engine, state, mined)
        barrier()
        with written(made):
            if rank() == 0:
                shutil.rmtree(made, ignore_errors=True)
                unfinished.rename(made)
                for old in self.all()[: -self._keep]:
                    shutil.rmtree(old)
        barrier()
        return made

    def _write(self, folder: Path, engine: Engine, state: State, mined: Mined | None) -> None:
        engine.save(folder)
        torch.save(_randomness(), folder / f"random-{rank()}.pt")
        if rank() == 0:
            if mined is not None:
                mined.write(folder)
            (folder / "run.json").write_text(json.dumps({"identity": self._identity, "state": asdict(state)}))

    def all(self) -> list[Path]:
        """Whole checkpoints, oldest first."""
        return sorted(self._folder.glob("step-*"))

    def newest(self) -> State:
        """Read the newest's state; a new one where there is none. Raises TerminalTrainingError for another run's."""
        if not self.all():
            return State()
        held = json.loads((self.all()[-1] / "run.json").read_text())
        if lines := _differences(held["identity"], self._identity):
            raise TerminalTrainingError(
                f"{self._folder} holds checkpoints of another run:\n  " + "\n  ".join(lines) + "\n"
                "Give this run another folder, or undo the difference."
            )
        return State(**held["state"])

    def restore(self, engine: Engine) -> None:
        """Load weights, optimizer and randomness of the newest."""
        newest = self.all()[-1]
        engine.load(newest)
        _set_randomness(torch.load(newest / f"random-{rank()}.pt", weights_only=False))


def _differences(held: Any, wanted: Any, at: str = "") -> list[str]:  # noqa: ANN401  any JSON value
    if isinstance(held, dict) and isinstance(wanted, dict):
        keys = sorted(held.keys() | wanted.keys())
        return [line for key in keys for line in _differences(held.get(key), wanted.get(key), f"{at}.{key}".strip("."))]
    if isinstance(held, list) and isinstance(wanted, list) and len(held) == len(wanted):
        pairs = enumerate(zip(held, wanted, strict=True))
        return [line for place, (a, b) in pairs for line in _differences(a, b, f"{at}.{place}")]
    return [] if held == wanted else [f"{at}: it was {held!r}, it is {wanted!r}"]


def _randomness() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
    return {"torch": torch.get_rng_state(), "cuda": cuda, "numpy": np.random.get_state(), "python": random.getstate()}


def _set_randomness(states: Mapping[str, Any]) -> None:
    torch.set_rng_state(states["torch"])
    np.random.set_state(states["numpy"])
    random.setstate(states["python"])
    if states["cuda"] is not None:
        torch.cuda.set_rng_state(states["cuda"])
