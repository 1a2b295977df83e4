"""Wait out what passes: a batch that failed for a transient reason is tried again before the stream gives up."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from jude.errors import TransientError
from jude.stream.drain import Drain

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 15.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one batch may go on failing; its parts are handed in, so that a test need not wait."""

    seconds: float  # from the first failure on; 0: not at all
    drain: Drain
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = field(default=lambda: random.uniform(0.5, 1.0))  # noqa: S311 - not a secret

    def wait_out(self, attempt: Callable[[], T], batch: int) -> T:
        """Call `attempt`, which must be safe to repeat, until it succeeds.

        Raises DrainedError when a stop is asked for meanwhile; the last TransientError when the time is up, and every
        other error at once.
        """
        gives_up_at, pause = None, FIRST_PAUSE_SECONDS
        while True:
            try:
                return attempt()
            except TransientError as error:
                now = self.clock()
                gives_up_at = gives_up_at or now + self.seconds
                wait = pause * self.jitter()
                if now + wait > gives_up_at:
                    raise
                log.warning("batch fails", exc_info=error, extra={"facts": {"batch": batch, "wait_seconds": wait}})
                self.drain.wait(wait)
                self.drain.between_batches()
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
