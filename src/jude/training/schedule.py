"""Learning rate by update number. Pure: the rate of an update depends on its number alone, so a resumed run agrees."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi
from typing import Literal

from jude.errors import TerminalSettingsError

Kind = Literal["slanted_cosine", "slanted_linear", "cosine"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """lr / lr_max = 1/ratio + (1 - 1/ratio) g(t), with W warm-up updates of T.

    slanted_cosine: g = t/W for t < W, then (1 + cos(pi (t-W)/(T-W))) / 2
    slanted_linear: the same warm-up, then (T-t)/(T-W)   (Howard & Ruder, arXiv:1801.06146)
    cosine:         floor 0; g = (t+1)/W while warming, so that the first update moves already
    """

    lr_max: float
    updates: int  # T
    warmup: int  # W
    ratio: float = 32.0
    kind: Kind = "slanted_cosine"

    def __post_init__(self) -> None:
        if not 0 <= self.warmup < self.updates:
            raise TerminalSettingsError(
                f"The schedule has {self.warmup} warm-up updates of {self.updates}: 0 <= warm-up < updates must hold."
            )
        if self.ratio < 1 or self.lr_max <= 0:
            raise TerminalSettingsError(f"lr_max ({self.lr_max}) must be above 0 and ratio ({self.ratio}) at least 1.")

    def rate(self, update: int) -> float:
        """Give the learning rate of an update, numbered from 0; past the end it stays where it ended."""
        t = min(max(update, 0), self.updates)
        floor = 0.0 if self.kind == "cosine" else 1 / self.ratio
        return self.lr_max * (floor + (1 - floor) * self._share(t))

    def _share(self, t: int) -> float:
        if t < self.warmup:
            return (t + 1 if self.kind == "cosine" else t) / self.warmup
        done = (t - self.warmup) / (self.updates - self.warmup)
        return 1 - done if self.kind == "slanted_linear" else (1 + cos(pi * done)) / 2
