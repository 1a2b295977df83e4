"""A slice of the US federal vacancy texts (USAJOBS, public domain) as postings that open and close."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from scripts.row_changes import JOBS, Change, Row, Transaction, epoch_ms

Form = dict[str, Any]

_OPENING_HOUR: Final = "T12:00:00Z"
_CLOSING_HOUR: Final = "T04:00:00Z"
"""Vacancies close at midnight in the east of the country; the row changes in the night that follows."""


def choose_forms(shared: Path, seed: int, singles: int, groups: int) -> list[Form]:
    """Pick `singles` vacancies of different titles and `groups` of two to four vacancies with one and the same text.

    Vacancies of one group share title and agency too: a model reads the same input for them.
    """
    columns = ["form_id", "title", "agency", "announcement", "open_from", "open_to", "text", "text_hash"]
    forms: list[Form] = pq.read_table(shared / "jobs_usajobs_forms" / "forms.parquet", columns=columns).to_pylist()
    forms = sorted((form for form in forms if _speaks_of_its_job(form)), key=lambda form: form["form_id"])
    rng = random.Random(seed)
    same: dict[tuple[str, str, str], list[Form]] = {}
    for form in forms:
        same.setdefault((form["text_hash"], form["title"], form["agency"]), []).append(form)
    repeated = [group for group in same.values() if 2 <= len(group) <= 4]
    alone = [group[0] for group in same.values() if len(group) == 1]
    chosen = [form for group in rng.sample(repeated, groups) for form in group]
    titles = {form["title"].lower() for form in chosen}
    for form in rng.sample(alone, len(alone)):
        if singles and form["title"].lower() not in titles:
            titles.add(form["title"].lower())
            chosen.append(form)
            singles -= 1
    return sorted(chosen, key=lambda form: (form["open_from"], form["form_id"]))


def opened_before(forms: Sequence[Form], day: str) -> list[Row]:
    """The rows that a bulk load before `day` (YYYY-MM-DD) brings, by key."""
    rows = (_row(form, "open", form["open_from"] + _OPENING_HOUR) for form in forms if form["open_from"] < day)
    return sorted(rows, key=lambda row: row["id"])


def openings(forms: Sequence[Form], day: str) -> Iterator[Transaction]:
    """One transaction of inserts per day, from `day` on."""
    later = sorted((form for form in forms if form["open_from"] >= day), key=lambda form: form["open_from"])
    for opened, group in groupby(later, key=lambda form: form["open_from"]):
        at = opened + _OPENING_HOUR
        rows = [_row(form, "open", at) for form in group]
        yield Transaction(epoch_ms(at), tuple(Change(JOBS, "insert", row["id"], row) for row in rows))


def closings(forms: Sequence[Form], day: str) -> Iterator[Transaction]:
    """One transaction per night that sets the status of what closed: an update that concerns no text.

    What had closed before `day` closes in the night after it.
    """
    nights: dict[str, list[Form]] = {}
    for form in forms:
        last_day = date.fromisoformat(max(form["open_to"], day))
        nights.setdefault((last_day + timedelta(days=1)).isoformat(), []).append(form)
    for night in sorted(nights):
        at = night + _CLOSING_HOUR
        rows = [_row(form, "closed", at) for form in nights[night]]
        yield Transaction(epoch_ms(at), tuple(Change(JOBS, "update", row["id"], row) for row in rows))


def _row(form: Form, status: str, updated_at: str) -> Row:
    return JOBS.row(
        id=form["form_id"],
        title=form["title"],
        organisation=form["agency"],
        description=form["text"],
        announcement=form["announcement"],
        opens=form["open_from"],
        closes=form["open_to"],
        status=status,
        updated_at=updated_at,
    )


def _speaks_of_its_job(form: Form) -> bool:
    """Many forms begin with pages of general instructions: keep those that name their job early on."""
    if not form["open_from"] or not form["open_to"] or form["open_to"] < form["open_from"]:
        return False
    start = form["text"][:900].lower()
    return any(len(word) > 4 and word in start for word in form["title"].lower().replace("(", " ").split())
