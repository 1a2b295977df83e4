"""Which events belong together, and in which order they are folded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from jude.planning.state import Event, Key


def key_roots(pairs: Iterable[tuple[Key, Key]]) -> dict[Key, Key]:
    """Join keys that key changes link (new key, old key): every key of a chain maps to one root.

    Chains are resolved before rows are dealt out into buckets, so that a chain is folded as one.
    """
    parent: dict[Key, Key] = {}

    def root(key: Key) -> Key:
        while (above := parent.setdefault(key, key)) != key:
            parent[key] = parent[above]
            key = parent[key]
        return key

    for new, old in pairs:
        first, second = sorted((root(new), root(old)))
        parent[second] = first
    return {key: root(key) for key in parent}


def chains(events: Sequence[Event]) -> list[list[Event]]:
    """Group the events that have a key by chain, each in the order in which it is folded.

    A tombstone has no position, nor has a record that could not be read: it stands after the newest change of its key
    that the broker holds before it. A tombstone that follows its own delete is left out: it says nothing new. One
    whose delete goes to quarantine stands alone.
    """
    keyed = [e for e in events if e.entity_id is not None]
    roots = key_roots((e.key, Key(e.key.entity_type, e.old_entity_id)) for e in keyed if e.old_entity_id is not None)
    anchors = _anchors(keyed)
    grouped: dict[Key, list[tuple[tuple[str, bool, int], Event]]] = {}
    for event in keyed:
        if event.op == "tombstone" and id(event) not in anchors:
            continue
        place = anchors[id(event)] if event.position is None else event.position
        order = (place, event.position is None, event.offset)
        grouped.setdefault(roots.get(event.key, event.key), []).append((order, event))
    return [[event for _, event in sorted(chain, key=lambda pair: pair[0])] for chain in grouped.values()]


def _anchors(keyed: Sequence[Event]) -> dict[int, str]:
    """Give every tombstone that stands alone, and every unreadable record, the position after which it is folded."""
    anchors: dict[int, str] = {}
    if all(e.position is not None for e in keyed):
        return anchors
    for _, group in groupby(sorted(keyed, key=lambda e: (*_place(e), e.offset)), key=_place):
        newest, last_op = "", None
        for event in group:
            if event.position is None and (event.op != "tombstone" or last_op != "d"):
                anchors[id(event)] = newest
            if event.op != "tombstone":
                newest = max(newest, event.position or "")
                last_op = event.op if event.error_class is None else None
    return anchors


def _place(event: Event) -> tuple[Key, str, int]:
    return event.key, event.topic or "", event.partition or 0
