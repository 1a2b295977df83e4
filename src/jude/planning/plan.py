"""`plan_batch`: one pure function over Arrow tables. It knows no Spark; driver and executors run the same code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from jude.entities import Entities
from jude.planning.fold import fold
from jude.planning.order import chains
from jude.planning.rows import PLANNED
from jude.planning.state import Event, Key, Reason, events_of, states_of

_PASSED_ON = ("record", "topic", "partition", "offset", "timestamp", "entity_type", "entity_id", "old_entity_id", "op")


def plan_batch(changes: pa.Table, known: pa.Table, entities: Entities) -> pa.Table:
    """Decide what every change event means.

    Columns in:  CHANGES; KNOWN (all keys and old keys of the changes, `fields` for `keys_to_restore`)
    Columns out: PLANNED without the token columns, one row per change, in the same order
    """
    events = events_of(changes)
    states = states_of(known)
    for chain in chains(events):
        fold(chain, states, entities)
    for event in events:
        if event.reason is None:  # a tombstone that follows its delete, or a record without a key
            event.reason = Reason.STALE if event.op == "tombstone" else Reason.QUARANTINED
    return _planned(changes, events)


def keys_of(changes: pa.Table) -> set[Key]:
    """The keys and old keys whose known state a plan needs."""
    columns = (changes[name].to_pylist() for name in ("entity_type", "entity_id", "old_entity_id"))
    keys: set[Key] = set()
    for entity_type, entity_id, old_entity_id in zip(*columns, strict=True):
        keys.update(Key(entity_type, i) for i in (entity_id, old_entity_id) if i is not None)
    return keys


def keys_to_restore(changes: pa.Table) -> set[Key]:
    """The keys whose remembered raw fields a plan may need: those with a placeholder, and their old keys."""
    with_placeholder = changes.filter(pa.compute.is_valid(changes["unavailable"]))
    return keys_of(with_placeholder)


def _planned(changes: pa.Table, events: list[Event]) -> pa.Table:
    empty = pa.nulls(len(events))
    values: dict[str, Callable[[Event], Any]] = {
        "fields": lambda e: None if e.fields is None or not e.writes_text else list(e.fields.items()),
        "unavailable": lambda e: e.unavailable,
    }
    arrays = []
    for field in PLANNED:
        if field.name in _PASSED_ON:
            arrays.append(changes[field.name].combine_chunks())
        elif field.name in Event.__slots__:
            read = values.get(field.name, lambda e, name=field.name: getattr(e, name))
            arrays.append(pa.array([read(e) for e in events], field.type))
        else:
            arrays.append(empty.cast(field.type))
    return pa.Table.from_arrays(arrays, schema=PLANNED)
