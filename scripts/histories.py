"""Reads the recorded histories of a shared data folder as transactions of row changes, oldest first.

One commit of the source is one transaction. Nothing is invented: where the source is silent the column is null, or the
empty text for a column that may not be null.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, Final, TypeAlias

import pyarrow.parquet as pq

from scripts.row_changes import COMPANIES, INTERNSHIPS, JOBS, MEMBERS, Change, Op, Row, Table, Transaction, epoch_ms

Event: TypeAlias = dict[str, Any]

_OPS: Final[dict[str, Op]] = {"I": "insert", "U": "update", "D": "delete"}
_SAME_POSTING: Final = 0.35
"""Share of lines that a removed and an added posting of one commit have in common when the file was only renamed:
all 29 such pairs have 0.36 or more, the likest unrelated posting 0.28."""


def internships(shared: Path) -> Iterator[Transaction]:
    """Internship postings (local measurement only: their repository names no licence)."""
    rows: dict[str, Row] = {}
    with gzip.open(shared / "stream_internships" / "events.jsonl.gz", "rt", encoding="utf-8") as lines:
        for (at, _), events in groupby(map(json.loads, lines), key=lambda event: (event["t"], event["c"])):
            yield Transaction(epoch_ms(at), tuple(_internship(event, rows) for event in events))


def members(shared: Path) -> Iterator[Transaction]:
    """Career profiles of public officials (CC0)."""
    return _transactions(shared / "stream_member_profiles", MEMBERS, member_row)


def companies(shared: Path) -> Iterator[Transaction]:
    """Profiles of companies that hire remotely (ISC)."""
    return _transactions(shared / "stream_remote_companies", COMPANIES, company_row)


def tts(shared: Path) -> Iterator[Transaction]:
    """Postings of the US Technology Transformation Services (CC0). A renamed file is a change of the key."""
    descriptions: dict[str, str] = {}
    for transaction in _transactions(shared / "stream_tts_positions", JOBS, posting_row):
        changes = _with_key_changes(transaction.changes, descriptions)
        for change in changes:
            if change.row is not None:
                descriptions[change.key] = change.row["description"]
        yield Transaction(transaction.at_ms, changes)


def posting_row(event: Event) -> Row:
    """One TTS posting as a row of jobs."""
    meta = json.loads(event["meta_json"])
    pay = [str(meta[name]) for name in ("salary_min", "salary_max") if meta.get(name)]
    return JOBS.row(
        id=event["key"],
        title=event["title"] or "",
        organisation=_text(meta.get("org")) or "",
        location=_text(meta.get("location") or meta.get("locations")),
        description=event["text"] or "",
        pay=" to ".join(pay) or None,
        grade=_text(meta.get("gs_level") or meta.get("gs")),
        series=_text(meta.get("series")),
        announcement=_text(meta.get("job_announcement_number")),
        opens=_text(meta.get("opens")),
        closes=_text(meta.get("closes")),
        status=_text(meta.get("state")) or "open",
        revision=event["commit"],
        updated_at=event["ts"],
    )


def member_row(event: Event) -> Row:
    """One official as a row of members."""
    return MEMBERS.row(
        id=event["key"],
        name=event["name"] or "",
        headline=event["headline"] or "",
        experience=event["experience"] or "",
        contact_json=event["other_json"],
        revision=event["commit"],
        updated_at=event["ts"],
    )


def company_row(event: Event) -> Row:
    """One company profile as a row of companies."""
    meta = json.loads(event["meta_json"])
    return COMPANIES.row(
        id=event["key"],
        name=event["title"] or "",
        description=event["text"] or "",
        region=_text(meta.get("region")),
        website=_text(meta.get("website")),
        careers_url=_text(meta.get("careers_url")),
        remote_policy=_text(meta.get("remote_policy")),
        company_size=_text(meta.get("company_size")),
        technologies=_text(meta.get("technologies")),
        revision=event["commit"],
        updated_at=event["ts"],
    )


def _transactions(folder: Path, table: Table, to_row: Callable[[Event], Row]) -> Iterator[Transaction]:
    events: list[Event] = pq.read_table(folder / "events.parquet").sort_by("seq").to_pylist()
    for (at, _), group in groupby(events, key=lambda event: (event["ts"], event["commit"])):
        changes = (
            Change(table, _OPS[event["op"]], event["key"], None if event["op"] == "D" else to_row(event))
            for event in group
        )
        yield Transaction(epoch_ms(at), tuple(changes))


def _internship(event: Event, rows: dict[str, Row]) -> Change:
    """An update names only the fields that changed: the full row is the last one with those replaced."""
    key, op = event["id"], _OPS[event["op"]]
    if op == "delete":
        del rows[key]
        return Change(INTERNSHIPS, op, key, None)
    changed = {name: _stored(name, value) for name, value in event["after"].items()}
    base = rows[key] if op == "update" else INTERNSHIPS.row(id=key)
    rows[key] = {**base, **INTERNSHIPS.row(**{**base, **changed}), "updated_at": event["t"]}
    return Change(INTERNSHIPS, op, key, rows[key])


def _stored(name: str, value: object) -> object:
    """The source writes these dates as epoch seconds or as text: the column is text."""
    return None if value is None else str(value) if name in ("date_posted", "date_updated") else value


def _with_key_changes(changes: Iterable[Change], descriptions: dict[str, str]) -> tuple[Change, ...]:
    """Join a delete and an insert of one commit that hold the same posting into one change of its key."""
    changes = tuple(changes)
    gone = {change.key for change in changes if change.op == "delete"}
    renamed: dict[str, str] = {}
    for change in changes:
        if change.op != "insert" or change.row is None or not gone:
            continue
        likeness, old_key = max((_likeness(change.row["description"], descriptions[key]), key) for key in gone)
        if likeness >= _SAME_POSTING:
            renamed[change.key] = old_key
            gone.discard(old_key)
    taken = set(renamed.values())
    return tuple(
        Change(change.table, "rekey", change.key, change.row, renamed[change.key]) if change.key in renamed else change
        for change in changes
        if change.op != "delete" or change.key not in taken
    )


def _likeness(left: str, right: str) -> float:
    """Jaccard likeness of the lines of two texts, 0 to 1."""
    ours, theirs = set(left.splitlines()), set(right.splitlines())
    return len(ours & theirs) / max(1, len(ours | theirs))


def _text(value: object) -> str | None:
    """A front-matter value as one text: lists are joined, nothing stays nothing."""
    if value is None or value == "" or value == []:
        return None
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
