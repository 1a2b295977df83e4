"""The log of a run: a line of JSON an update."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jude.training.writing import written


class RunLog:
    """`log.jsonl` of a run folder."""

    def __init__(self, file: Path, *, writes: bool) -> None:
        """`writes`: this is the first rank; the others stay silent."""
        self._file, self._writes = file, writes

    def add(self, line: Mapping[str, Any]) -> None:
        """Append one line; what is no number is null. Raises TransientTrainingError when it could not be written."""
        if self._writes:
            with written(self._file):
                self._file.parent.mkdir(parents=True, exist_ok=True)
                with self._file.open("a") as file:
                    file.write(json.dumps({name: _said(value) for name, value in line.items()}) + "\n")

    def forget_after(self, done: int) -> None:
        """Drop what was logged after the checkpoint: it will be done, and logged, again. A torn line goes, too."""
        if self._writes and self._file.exists():
            lines = [line for line in self._file.read_text().splitlines() if _update(line) < done]
            kept = self._file.with_suffix(".kept")
            with written(self._file):
                kept.write_text("".join(f"{line}\n" for line in lines))
                kept.replace(self._file)


def _said(value: Any) -> Any:  # noqa: ANN401  any JSON value
    """JSON has no NaN, which a skipped update's norm is."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _update(line: str) -> float:
    """Give the update of a line; of one that a full disk cut short, none that was ever reached."""
    try:
        return int(json.loads(line)["update"])
    except json.JSONDecodeError:
        return math.inf
