"""What the vectors of one model version are made of, all choices settled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jude.encoder.model_folder import ModelFolder, read_model_folder
from jude.encoder.packaged import MINILM, find_model
from jude.encoder.spec import EncoderSpec
from jude.errors import TerminalEnvironmentError, TerminalSettingsError

MASKS: Final = ("bidirectional", "causal")
COMPUTE_TYPES: Final = ("float32", "bfloat16")


@dataclass(frozen=True, slots=True)
class MadeOf:
    """Equal parts, equal vectors."""

    model: ModelFolder
    adapter: Path | None
    pooling: str
    mask: str
    normalise: bool
    max_tokens: int
    width: int
    compute: str  # float32 | bfloat16

    def weights_digest(self) -> str:
        """Name the weights; a packaged model's are one file, as their authors published it."""
        packaged = self.model.name == MINILM and self.adapter is None
        return self.model.digest(self.adapter) if not packaged else _file_digest(self.model)


def made_of(spec: EncoderSpec) -> MadeOf:
    """Settle what a spec leaves open. Raises TerminalSettingsError, TerminalEnvironmentError."""
    model = find_model(spec.kind) if spec.kind == MINILM else read_model_folder(_folder(spec))
    pooling = model.checked_pooling(spec.pooling)
    if pooling == "last":
        require_eos(model)
    return MadeOf(
        model=model,
        adapter=Path(spec.adapter) if spec.adapter else None,
        pooling=pooling,
        mask=_one_of("mask", spec.mask or model.mask, MASKS),
        normalise=model.normalise if spec.normalise is None else spec.normalise,
        max_tokens=model.checked_max_tokens(spec.max_tokens),
        width=model.checked_width(spec.width),
        compute=_one_of("compute", spec.compute, COMPUTE_TYPES),
    )


def require_eos(model: ModelFolder) -> None:
    """Raises TerminalEnvironmentError: last pooling without an end token would pool the last word instead."""
    from jude.encoder.tokenising import eos_id

    if eos_id(model.tokeniser) is None:
        raise TerminalEnvironmentError(
            f"{model.tokeniser} ends no text with EOS, which last pooling reads. Make a folder whose tokeniser does: "
            f"jude model import {model.folder} TARGET --pooling last"
        )


def _folder(spec: EncoderSpec) -> Path:
    if spec.path is None:
        raise TerminalSettingsError("encoder.kind is folder, so encoder.path must name the folder of the model.")
    return Path(spec.path)


def _one_of(key: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise TerminalSettingsError(f"encoder.{key} is {value!r}. Known: {', '.join(known)}.")
    return value


def _file_digest(model: ModelFolder) -> str:
    from jude.encoder.version import file_sha256

    return file_sha256(model.weights)
