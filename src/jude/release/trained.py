"""A finished training run as files: what it was trained with, its log, its adapter, and the folder merged from it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jude import __version__
from jude.encoder import EncoderSpec
from jude.encoder.packaged import MINILM, find_model
from jude.errors import TerminalSettingsError
from jude.release.registry import ADAPTER_FOLDER, MODEL_FOLDER

ABOUT_FILE: Final = "jude_training.json"
RELEASE_FOLDER: Final = "release"
_LOGGED: Final = ("tokens_per_second", "memory_mib")


@dataclass(frozen=True, slots=True)
class TrainedRun:
    """The folder of a run."""

    folder: Path
    base: str  # all-minilm-l6-v2, or a folder
    identity: Mapping[str, Any]  # settings, data hashes, base's weights, ranks: what its checkpoints agree on
    lines: list[dict[str, Any]]  # of log.jsonl

    @property
    def settings(self) -> Mapping[str, Any]:
        """Give the run's settings as plain data."""
        found: Mapping[str, Any] = self.identity["settings"]
        return found

    @property
    def adapter(self) -> Path:
        """Give the folder of the LoRA adapter."""
        return self.folder / "adapter"

    @property
    def base_folder(self) -> Path:
        """Find the base. Raises TerminalEnvironmentError where it is gone."""
        return find_model(MINILM).folder if self.base == MINILM else Path(self.base)

    @property
    def pooling(self) -> str:
        """How token states became a vector in training: a release does the same."""
        return str(self.settings["model"]["pooling"])

    @property
    def mask(self) -> str | None:
        """In which direction a decoder read in training; None: as its family does."""
        found: str | None = self.settings["model"]["mask"]
        return found

    @property
    def prompts(self) -> dict[str, str]:
        """Give the words before each entity type's text; empty: none."""
        return dict(self.settings["model"]["prompts"])

    def spec(self, *, max_tokens: int | None = None) -> EncoderSpec:
        """Describe base and adapter side by side, merged when they are loaded."""
        return EncoderSpec(
            "folder", path=str(self.base_folder), adapter=str(self.adapter), pooling=self.pooling,
            mask=self.mask, prompts=self.prompts, max_tokens=max_tokens,
        )  # fmt: skip

    def speed(self) -> dict[str, float]:
        """Give the medians of what the log says about tokens per second and memory."""
        found = {name: sorted(line[name] for line in self.lines if name in line) for name in _LOGGED}
        return {name: values[len(values) // 2] for name, values in found.items() if values}


def read_run(folder: Path) -> TrainedRun:
    """Read a run's folder. Raises TerminalSettingsError for one that is none, or has not ended."""
    about = folder / "adapter" / ABOUT_FILE
    if not about.exists():
        raise TerminalSettingsError(
            f"{folder} is no finished training run: it has no adapter/{ABOUT_FILE}. Give the --folder of jobs/train.py."
        )
    said = json.loads(about.read_text())
    log = folder / "log.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return TrainedRun(folder, said["base"], said["identity"], lines)


def merge_run(run: TrainedRun, name: str) -> Path:
    """Write `release/model`, a folder of sentence-transformers with the adapter merged, and `release/adapter`.

    Gives the folder of both. What an earlier call left there is written anew.
    """
    from jude.encoder.importing import import_model

    target = run.folder / RELEASE_FOLDER
    shutil.rmtree(target, ignore_errors=True)
    import_model(
        run.base_folder, target / MODEL_FOLDER, pooling=run.pooling, mask=run.mask, name=name, adapter=run.adapter
    )
    shutil.copytree(run.adapter, target / ADAPTER_FOLDER)
    words = {"prompts": run.prompts, "default_prompt_name": None, "similarity_fn_name": "cosine"}
    (target / MODEL_FOLDER / "config_sentence_transformers.json").write_text(json.dumps(words, indent=1) + "\n")
    return target


def code_version() -> str:
    """Name this code: its version, and the commit where it lies in a git checkout ("+" where files were changed)."""
    here = Path(__file__).parent
    asked = ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
    try:
        commit = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=10).stdout.strip()  # noqa: S603 - git
    except (OSError, subprocess.SubprocessError):
        return __version__
    return f"{__version__} {commit}"
