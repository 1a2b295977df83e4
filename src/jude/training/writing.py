"""A file of a run that could not be written is one sentence: the disk is full, more often than not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from jude.errors import TransientTrainingError


@contextmanager
def written(file: Path) -> Iterator[None]:
    """Raise TransientTrainingError when what is inside could not write `file`."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        raise TransientTrainingError(
            f"{file} could not be written ({error}). The checkpoints that are there are whole: mend that (on a "
            "full disk, make room) and start the same command again."
        ) from error
