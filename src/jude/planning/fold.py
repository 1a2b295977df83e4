"""Fold the events of one chain of keys into the known state: restore, guard, compare (docs/design.md 3, 4, 6)."""

from __future__ import annotations

from collections.abc import Sequence

from jude.changes.position import parse_position, tombstone_position
from jude.entities import Entities, Entity
from jude.planning.state import Event, Key, KeyState, Reason
from jude.text import column_digest, columns_hash, render, split_columns_hash, text_hash

States = dict[Key, KeyState]


def fold(chain: Sequence[Event], states: States, entities: Entities) -> None:
    """Give every event of a chain its reason and move `states` forward; events come in fold order."""
    before = {event.key: states.get(event.key) for event in chain}
    known_input = {key: state.input_hash if state else None for key, state in before.items()}
    for event in chain:
        _apply(event, states, entities)
        event.known_input_hash = known_input[event.key]
    for event in reversed(chain):  # the key's last event carries the move, whatever its own reason
        state = states.get(event.key)
        if state is not None and state.moved:
            event.move = state.as_move()
            state.moved = False


def _apply(event: Event, states: States, entities: Entities) -> None:
    state = states.get(event.key)
    if event.op == "tombstone":
        _apply_tombstone(event, state)
    elif event.error_class is not None and event.position is None:
        _block_unplaced(event, state)
    elif state is not None and (event.position or "") <= state.position:
        event.reason, event.error_class, event.error = Reason.STALE, None, None
        _claim_tombstone(event, state)
    elif event.error_class is not None:
        _block(event, state, event.error_class, event.error or "")
    elif event.op == "d":
        states[event.key] = state = state or KeyState(status="unknown", position="")
        _delete(event, state)
    else:
        _apply_upsert(event, state, states, entities)


def _apply_tombstone(event: Event, state: KeyState | None) -> None:
    """A tombstone that stands alone deletes a live key, if the broker wrote it after what is stored."""
    if state is None or state.status != "live" or not _same_log(event, state) or event.offset <= (state.offset or 0):
        event.reason = Reason.STALE
        return
    event.position = tombstone_position(state.position, event.offset)
    _delete(event, state)


def _claim_tombstone(event: Event, state: KeyState) -> None:
    """A redelivered delete of a key that lives again brings its tombstone along: that one must not delete the key."""
    if event.op == "d" and _same_log(event, state) and event.offset >= (state.offset or 0):
        state.offset = event.offset + 1
        state.moved = state.moved or state.status == "live"  # a deleted key has nothing to lose to a tombstone


def _same_log(event: Event, state: KeyState) -> bool:
    """Whether the offsets of the event and of what is stored can be compared."""
    return (state.topic, state.partition) == (event.topic, event.partition)


def _block_unplaced(event: Event, state: KeyState | None) -> None:
    """Quarantine a record whose position cannot be read: no later placeholder is restored across it.

    It stands where the broker holds it, unless that is before what is stored: then it was overtaken.
    """
    event.reason = Reason.QUARANTINED
    if state is None or (_same_log(event, state) and event.offset <= (state.offset or 0)):
        return
    state.quarantined_position = state.quarantined_position or state.position  # an earlier gap stays the one to mend
    state.moved = True


def _block(event: Event, state: KeyState | None, error_class: str, sentence: str) -> None:
    """Quarantine an event; pointer and position of its key stay, no later placeholder is restored across it."""
    event.quarantine(error_class, sentence)
    if state is not None and event.position is not None:
        state.quarantined_position = max(state.quarantined_position or "", event.position)
        state.moved = True


def _delete(event: Event, state: KeyState) -> None:
    """The comparison text is remembered across a delete: a key change may need it, and so may a late placeholder."""
    event.writes_text = state.status != "deleted"
    _supersede(state)
    event.reason = Reason.DELETED
    state.status, state.input_hash, state.changed_by = "deleted", None, event
    _move_to(event, state)


def _move_to(event: Event, state: KeyState) -> None:
    assert event.position is not None
    state.position, state.source_ts, state.moved = event.position, event.source_ts, True
    # An offset that is higher already belongs to a redelivered delete, whose tombstone may come in the next batch.
    state.offset = max(event.offset, state.offset or 0) if _same_log(event, state) else event.offset
    state.topic, state.partition = event.topic, event.partition


def _close_gap(state: KeyState) -> None:
    """Full values arrived: placeholders may be restored again. A delete closes no gap, it brings no values."""
    if state.quarantined_position is not None and state.quarantined_position <= state.position:
        state.quarantined_position = None


def _supersede(state: KeyState) -> None:
    """The event whose text or delete the key had until now is overtaken inside this batch."""
    if state.changed_by is not None:
        state.changed_by.reason = Reason.SUPERSEDED


def _apply_upsert(event: Event, state: KeyState | None, states: States, entities: Entities) -> None:
    entity = entities[event.key.entity_type]
    source = state if event.old_entity_id is None else states.get(Key(entity.name, event.old_entity_id))
    digests = _digests(event, source, entity)
    if digests is None:
        _block_unavailable(event, state)
        return
    event.columns_hash = columns_hash(entity, digests)
    if state is not None and state.has_pointer and state.columns_hash == event.columns_hash:
        _keep(event, state, "columns")
        return
    fields = _restored(event, source)
    if fields is None:
        _block_unavailable(event, state)
        return
    text = render(entity, fields)
    if not text:
        _block(event, state, "empty_text", "nothing is left of the text once it is normalised")
        return
    event.text_hash = text_hash(entity, text)
    if state is not None and state.has_pointer and state.text_hash == event.text_hash:
        state.columns_hash = event.columns_hash
        _keep(event, state, "text")
        return
    event.text, event.fields = text, fields
    states[event.key] = _changed(event, state)


def _keep(event: Event, state: KeyState, level: str) -> None:
    """A skip moves the stored position forward; the remembered fields stay those of the text_history row."""
    event.reason, event.level = Reason.UNCHANGED, level
    _move_to(event, state)
    _close_gap(state)


def _changed(event: Event, state: KeyState | None) -> KeyState:
    state = state or KeyState(status="live", position="")
    _supersede(state)
    if state.status == "deleted" and _same_log(event, state) and event.offset < (state.offset or 0):
        state.offset = (state.offset or 0) + 1  # the older delete came after this change, and its tombstone is to come
    event.reason, event.writes_text = Reason.CHANGED, True
    state.status, state.changed_by, state.fields = "live", event, event.fields
    state.text_position, state.columns_hash, state.text_hash = event.position, event.columns_hash, event.text_hash
    _move_to(event, state)
    _close_gap(state)
    return state


def _digests(event: Event, source: KeyState | None, entity: Entity) -> dict[str, str] | None:
    """One digest per text column, placeholders' from the known state; None when one cannot be had.

    What an old key got after the key change (somebody made it anew) is not what the new key took along.
    """
    digests = {name: column_digest(raw) for name, raw in (event.fields or {}).items()}
    if not event.unavailable:
        return digests
    if source is None or _gap_before(event, source) or (source.text_position or "") > (event.position or ""):
        return None
    remembered = split_columns_hash(entity, source.columns_hash) if source.columns_hash else None
    if remembered is None and source.fields:
        remembered = {name: column_digest(raw) for name, raw in source.fields.items()}
    if remembered is None or not all(name in remembered for name in event.unavailable):
        return None
    return digests | {name: remembered[name] for name in event.unavailable}


def _gap_before(event: Event, source: KeyState) -> bool:
    """Whether a change of the source lies in quarantine between what is remembered and this event.

    A key change is a delete and a create of one lsn: what could not be read after the delete came after both.
    """
    gap, position = source.quarantined_position or "", event.position or ""
    if event.old_entity_id is not None and source.status == "deleted" and gap == source.position:
        return parse_position(gap)[:2] < parse_position(position)[:2]  # epoch and lsn
    return "" < gap < position


def _restored(event: Event, source: KeyState | None) -> dict[str, str | None] | None:
    fields = dict(event.fields or {})
    for name in event.unavailable or ():
        if source is None or source.fields is None:
            raise ValueError(f"known state was read without the fields of a key that needs {name!r} restored")
        if name not in source.fields:
            return None
        fields[name] = source.fields[name]
    return fields


def _block_unavailable(event: Event, state: KeyState | None) -> None:
    lost = ", ".join(event.unavailable or ())
    _block(event, state, "text_unavailable", f"the database did not send {lost} and no earlier value is known")
