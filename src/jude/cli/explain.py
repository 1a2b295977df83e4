"""`jude explain job j1`: what happened to one entity, what was decided each time, and where its vector is now."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import takewhile
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from jude.changes.position import parse_position
from jude.cli.place import Place
from jude.cli.served import Served, served_now
from jude.cli.show import fresh, open_console, plain, print_json, when
from jude.errors import TerminalError
from jude.tables.reading import EntityHistory, Row, history_of, open_quarantine, read

if TYPE_CHECKING:
    from rich.console import Console

HASH_SHOWN = 12
EXCERPT_CHARACTERS = 66
_LEAD_IN = 16
_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Step:
    """One remembered change: a text that the entity had, a delete, or a pointer that came without a new text."""

    position: str
    op: str | None
    source_ts: datetime | None
    decision: str
    excerpt: str
    input_hash: str | None
    model_version: str | None
    origin: str | None
    available_at: datetime | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """All there is to say of one entity."""

    entity_type: str
    entity_id: str
    steps: list[Step]
    now: list[Served]
    quarantined: list[Row]


def explain_entity(place: Place, entity_type: str, entity_id: str) -> Explanation:
    """Read an entity's history, its pointers and what the online store serves.

    Raises TerminalError for an entity that no table knows, TerminalSettingsError for an unknown type.
    """
    place.entity_types(entity_type)
    place.require_rows()
    history = history_of(place.root, entity_type, entity_id)
    rows = open_quarantine(place.root).to_pylist()
    quarantined = [r for r in rows if (r["entity_type"], r["entity_id"]) == (entity_type, entity_id)]
    if not (history.texts.num_rows or history.current.num_rows or quarantined):
        raise TerminalError(_unknown(place.root, entity_type, entity_id))
    return Explanation(entity_type, entity_id, steps_of(history), served_now(place, history), quarantined)


def steps_of(history: EntityHistory) -> list[Step]:
    """Tell texts and pointers as one story, oldest first."""
    pointers: dict[str, list[Row]] = {}
    for pointer in history.pointers.to_pylist():
        pointers.setdefault(pointer["position"], []).append(pointer)
    steps, before = [], ""
    for row in history.texts.to_pylist():
        text = row["text"] or ""
        for pointer in pointers.pop(row["position"], [None]):
            steps.append(_step(row, pointer, _decision(row, pointer), _excerpt(text, before)))
        before = text or before
    for pointer in (p for rest in pointers.values() for p in rest):
        steps.append(_step(pointer, pointer, f"pointed at a vector by the {pointer['origin']}, same text", ""))
    return sorted(steps, key=lambda step: step.position) + _moved_on(history, steps)


def _decision(row: Row, pointer: Row | None) -> str:
    if row["text"] is None:
        return "deleted"
    if pointer is None:
        return "overtaken within its batch: text kept, not embedded"
    if pointer["embedded_at"] is not None and pointer["embedded_at"] < pointer["ingested_at"]:
        return "text changed: its vector was already stored"
    return "text changed: embedded"


def _step(row: Row, pointer: Row | None, decision: str, excerpt: str) -> Step:
    vector = pointer or {}
    return Step(
        position=row["position"],
        op=row.get("op"),
        source_ts=row["source_ts"],
        decision=decision,
        excerpt=excerpt,
        input_hash=vector.get("input_hash"),
        model_version=vector.get("model_version"),
        origin=vector.get("origin"),
        available_at=vector.get("available_at"),
    )


def _moved_on(history: EntityHistory, steps: list[Step]) -> list[Step]:
    """Tell of the skipped changes: they moved the position, and are not remembered one by one."""
    last = max((step.position for step in steps), default="")
    moved = [row for row in history.current.to_pylist() if row["position"] > last]
    decision = "unchanged: changes up to here left the text as it was, no inference"
    return [_step(row, None, decision, "") for row in moved[:1]]


def _excerpt(text: str, before: str) -> str:
    """Give the beginning of a text, or of what differs from the one before."""
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(text, before, strict=False)))
    start = max(0, same - _LEAD_IN)
    return ("…" if start else "") + plain(text[start : start + 4 * EXCERPT_CHARACTERS], EXCERPT_CHARACTERS)


def _unknown(root: str, entity_type: str, entity_id: str) -> str:
    rows = read(root, "embedding_current", ("entity_id",), pc.field("entity_type") == entity_type)
    known = pc.unique(rows["entity_id"]).sort().slice(0, _EXAMPLES).to_pylist()
    such_as = f"; known are for example {', '.join(known)}" if known else ""
    return f"No table knows {entity_type} {plain(entity_id, 80)}{such_as}."


def show_explanation(told: Explanation, *, as_json: bool) -> None:
    """Print the story from the oldest change to what readers get now; or JSON."""
    if as_json:
        print_json(asdict(told))
        return
    console = open_console()
    console.print(f"{told.entity_type} {plain(told.entity_id)}", style="bold")
    for step in told.steps:
        console.print(f"\n{when(step.source_ts)}  {_op(step.op)}, log position {parse_position(step.position).lsn}")
        console.print(f"    {step.decision}")
        if step.excerpt:
            console.print(f"    {step.excerpt}", style="dim")
        if step.input_hash:
            console.print(f"    vector {step.input_hash[:HASH_SHOWN]}, {_availability(step)}")
    for row in told.quarantined:
        console.print(f"\nin quarantine: {plain(row['quarantine_id'])} ({row['error_class']}): {plain(row['error'])}")
    for served in told.now:
        _show_now(console, served)


def _op(op: str | None) -> str:
    names = {"c": "created", "u": "updated", "r": "snapshot", "d": "deleted", "tombstone": "tombstone"}
    return names.get(op or "", "later changes")


def _availability(step: Step) -> str:
    if step.available_at is None:
        return "never served"
    age = (step.available_at - step.source_ts).total_seconds() if step.source_ts else None
    after = f", {fresh(age)} after commit" if age is not None else ""
    return f"readable {when(step.available_at)}{after}"


def _show_now(console: Console, served: Served) -> None:
    console.print(f"\nnow, in {served.model_version}", style="bold")
    moved = f"log position {parse_position(served.position).lsn}"
    where = f" (record {served.topic}:{served.partition}:{served.offset})" if served.topic else ""
    console.print(f"    {served.status}, {moved}{where}")
    if served.input_hash:
        console.print(f"    vector {served.input_hash} in embedding_store: {'yes' if served.stored else 'MISSING'}")
    console.print(f"    online store: {served.online}")
