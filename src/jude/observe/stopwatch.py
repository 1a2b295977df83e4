"""Seconds per stage of a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class Stopwatch:
    """Adds up the seconds spent in named stages. `clock` gives seconds (time.monotonic, or a test's own)."""

    clock: Callable[[], float]
    seconds: dict[str, float] = field(default_factory=dict)
    _running: list[str] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block; a stage entered again adds up, one that fails counts too.

        Raises ValueError inside another stage: time counted twice would make the stages exceed the batch.
        """
        if self._running:
            raise ValueError(f"stage {name!r} was started inside stage {self._running[-1]!r}: stages do not nest")
        self._running.append(name)
        started = self.clock()
        try:
            yield
        finally:
            self._running.pop()
            self.seconds[name] = self.seconds.get(name, 0.0) + self.clock() - started
