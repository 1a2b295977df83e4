"""The online store: the newest vector of each entity, for readers that need it in a millisecond."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class PutStatus(StrEnum):
    """What became of one put."""

    STORED = "stored"
    ALREADY_THIS_POSITION = "already_this_position"
    NEWER_PRESENT = "newer_present"


@dataclass(frozen=True, slots=True)
class Put:
    """A vector (or, with vector None, a delete's tombstone) that one entity has from `position` on."""

    model_version: str
    entity_type: str
    entity_id: str
    position: str
    vector: bytes | None  # little-endian, see dtype
    dtype: str  # float32 | bfloat16
    dim: int


@dataclass(frozen=True, slots=True)
class PutResult:
    """The status of a put, and the store's own `available_at` (None when a newer position is present)."""

    status: PutStatus
    available_at: datetime | None


@dataclass(frozen=True, slots=True)
class OnlineVector:
    """What a reader gets of a live entity."""

    vector: bytes
    dtype: str
    dim: int
    position: str
    available_at: datetime


class OnlineStore(Protocol):
    """Guarded by position: a put is kept only if its position is greater than the stored one, atomically."""

    def get_many(self, model_version: str, entity_type: str, entity_ids: Sequence[str]) -> list[OnlineVector | None]:
        """Give one answer per id, in order; None for an unknown or deleted entity."""
        ...

    def put_many(self, puts: Sequence[Put], now: datetime) -> list[PutResult]:
        """Put in one transaction; one result per put, in order. `now` becomes `available_at` of what is stored."""
        ...

    def flip(self, alias: str, model_version: str) -> None:
        """Point an alias (`current`) at a model version, atomically."""
        ...

    def resolve(self, alias: str) -> str | None:
        """Give the model version that an alias points at."""
        ...

    def close(self) -> None: ...
