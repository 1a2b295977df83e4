"""What is known of one key while its events are folded, and the events themselves, as plain objects."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

import pyarrow as pa


class Reason(StrEnum):
    """What became of one change event; every event leaves with exactly one."""

    QUARANTINED = "quarantined"
    SUPERSEDED = "superseded"
    STALE = "stale"
    UNCHANGED = "unchanged"
    DELETED = "deleted"
    CHANGED = "changed"


class Key(NamedTuple):
    """An entity."""

    entity_type: str
    entity_id: str


@dataclass(slots=True)
class Event:
    """A change event (a row of CHANGES) and, once planned, what became of it."""

    topic: str | None
    partition: int | None
    offset: int
    entity_type: str | None
    entity_id: str | None
    old_entity_id: str | None
    op: str | None
    position: str | None
    source_ts: datetime | None
    fields: dict[str, str | None] | None
    unavailable: list[str] | None
    error_class: str | None
    error: str | None
    reason: Reason | None = None
    level: str | None = None
    writes_text: bool = False
    columns_hash: str | None = None
    text: str | None = None
    text_hash: str | None = None
    known_input_hash: str | None = None
    move: dict[str, Any] | None = None
    key: Key = field(init=False)  # of a record without a key: meaningless, and never asked for

    def __post_init__(self) -> None:
        self.key = Key(self.entity_type or "", self.entity_id or "")

    def quarantine(self, error_class: str, sentence: str) -> None:
        self.reason, self.error_class, self.error = Reason.QUARANTINED, error_class, sentence


@dataclass(slots=True)
class KeyState:
    """The newest applied change of a key. `None` in place of a state means: never seen."""

    status: str
    position: str
    text_position: str | None = None
    columns_hash: str | None = None
    text_hash: str | None = None
    input_hash: str | None = None
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    source_ts: datetime | None = None
    quarantined_position: str | None = None
    fields: dict[str, str | None] | None = None  # raw text columns of the remembered text; None: not loaded
    moved: bool = False  # differs from what embedding_current holds
    changed_by: Event | None = field(default=None, repr=False)  # the event of this batch whose text it has

    @property
    def has_pointer(self) -> bool:
        """Readers find a vector for this key, or will at the end of this batch."""
        return self.status == "live" and (self.input_hash is not None or self.changed_by is not None)

    def as_move(self) -> dict[str, Any]:
        names = ("status", "position", "text_position", "columns_hash", "text_hash", "input_hash", "topic", "partition")
        return {n: getattr(self, n) for n in (*names, "offset", "source_ts", "quarantined_position")}


_EVENT_COLUMNS = tuple(Event.__slots__[:13])
_STATE_COLUMNS = tuple(n for n in KeyState.__slots__ if n not in ("source_ts", "moved", "changed_by"))


def events_of(changes: pa.Table) -> list[Event]:
    """Read CHANGES, in row order."""
    columns = [changes[name].to_pylist() for name in _EVENT_COLUMNS]
    events = [Event(*row) for row in zip(*columns, strict=True)]
    for event in events:
        if event.fields is not None:
            event.fields = dict(event.fields)
    return events


def states_of(known: pa.Table) -> dict[Key, KeyState]:
    """Read KNOWN."""
    columns = [known[name].to_pylist() for name in ("entity_type", "entity_id", *_STATE_COLUMNS)]
    states: dict[Key, KeyState] = {}
    for entity_type, entity_id, *values in zip(*columns, strict=True):
        state = KeyState(**dict(zip(_STATE_COLUMNS, values, strict=True)))
        state.fields = None if state.fields is None else dict(state.fields)
        states[Key(entity_type, entity_id)] = state
    return states
