"""Everything that one micro-batch needs, handed in: nothing below this reads a clock, a setting or a global."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from jude.encoder.protocol import Tokeniser
from jude.encoder.resilient import EncodeResult
from jude.entities import Entities
from jude.online.protocol import OnlineStore
from jude.output import NoOutput, Output
from jude.tables.protocol import Tables

EncodeInputs = Callable[[Mapping[str, Sequence[int]]], EncodeResult]
"""input_hash -> token ids in; input_hash -> vector, or why there is none, out."""


def _pass_by(step: str) -> None:
    """Called after each arrow of the batch; tests put a crash here."""


@dataclass(frozen=True)
class Pipeline:
    """The parts of one stream (or backfill, or replay)."""

    entities: Entities
    tokeniser: Tokeniser
    encode: EncodeInputs
    width: int
    tables: Tables
    online: OnlineStore
    clock: Callable[[], datetime]
    dtype: str = "float32"
    origin: str = "stream"
    source_epoch: int = 0
    truncate: Literal["stop", "delete_all"] = "stop"
    missing_field: Literal["stop", "quarantine"] = "quarantine"
    commit_attempts: int = 8
    attempts_file: Path | None = None
    part_tokens: int | None = None  # of a batch are encoded, stored and readable before the rest; None: it is one part
    output: Output = field(default_factory=NoOutput)
    pause: Callable[[float], None] = field(default=lambda seconds: None)
    after: Callable[[str], None] = _pass_by

    @property
    def model_version(self) -> str:
        return self.tokeniser.model_version
