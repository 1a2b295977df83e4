"""What the freshness benchmark plays into PostgreSQL: real members, with keys and texts of their own."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator
from typing import Any

from deploy.live.source import Record, Source, read_history
from deploy.live.stream import PROJECT


def load_entities(source: Source, entities: int) -> None:
    """Fill the database: real members with their own texts, as often as needed under keys of their own."""
    rows = [r["value"]["after"] for r in _members() if r["value"]["op"] in ("c", "r")]
    again = itertools.islice(itertools.cycle(rows), entities)
    records = (_member(row, number, row.get("headline")) for number, row in enumerate(again))
    while batch := list(itertools.islice(records, 500)):
        source.play(batch)


def play(source: Source, edits: Iterator[Record], rate: float, changes: int) -> None:
    """Play so many changes at a rate, one transaction each."""
    began = time.monotonic()
    for number, record in enumerate(itertools.islice(edits, changes)):
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
        source.play([record])


def new_texts(entities: int) -> Iterator[Record]:
    """Give a random entity a text that was never there, without end."""
    chance, rows = random.Random(7), [r["value"]["after"] for r in _members()]
    for number in itertools.count(time.time_ns() // 1_000_000):
        row = rows[number % len(rows)]
        yield _member(row, chance.randrange(entities), f"{row.get('headline')}, since {number}")


def real_mix() -> Iterator[Record]:
    """The sample's member changes as they happened, over and over: each round with ids and texts of its own."""
    for number in itertools.count():
        for record in _members():
            after = record["value"]["after"]
            own = {"id": f"{after['id']}-{number}", "headline": f"{after.get('headline')} {number}"}
            yield {**record, "key": {"id": own["id"]}, "value": {**record["value"], "after": {**after, **own}}}


def _member(row: dict[str, Any], number: int, headline: str | None) -> Record:
    after = {**row, "id": f"m{number:07d}", "headline": headline}
    return {"topic": "jude.public.members", "key": {"id": after["id"]}, "value": {"op": "u", "after": after}}


def _members() -> list[Record]:
    history = read_history(PROJECT / "data" / "sample")
    return [r for r in history if r["topic"] == "jude.public.members" and r["value"]["op"] != "d"]
