"""What a micro-batch asks of the output topic."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from jude.output.message import EmbeddingChange


class Output(Protocol):
    """Where applied changes are published."""

    def publish(self, changes: Iterable[EmbeddingChange]) -> None:
        """Publish changes and return once all are acknowledged; a replayed batch publishes them again.

        Raises TransientOutputError when some were not acknowledged: the batch is replayed.
        """
        ...

    def close(self) -> None: ...


class NoOutput:
    """No output topic."""

    def publish(self, changes: Iterable[EmbeddingChange]) -> None:
        """Do nothing: not one change is made."""

    def close(self) -> None:
        """Nothing to close."""
