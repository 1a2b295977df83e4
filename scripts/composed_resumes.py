"""Composed resumes: no person stands behind them. Titles, tasks, technologies and tools come from O*NET, the rest from
a seed. They get the edits that real profiles get: views counted, visibility switched, skills reordered, text reworded.
"""

from __future__ import annotations

import csv
import gzip
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from scripts.row_changes import RESUMES, Change, Row, Transaction

_DAY_MS: Final = 86_400_000
_EDITS: Final = {
    "viewed": 60,
    "visibility": 10,
    "skills_reordered": 9,
    "white_space": 6,
    "typography": 3,
    "line_appended": 5,
    "task_added": 5,
    "summary_reworded": 5,
}
"""Weights of the edits. About one update in six changes the text, as among the real members."""


@dataclass(frozen=True, slots=True)
class Occupation:
    """What O*NET says of one occupation."""

    title: str
    description: str
    titles: Sequence[str]
    tasks: Sequence[str]
    skills: Sequence[str]


@dataclass(slots=True)
class _Composer:
    rng: random.Random
    occupations: Sequence[Occupation]
    rows: dict[str, Row] = field(default_factory=dict)
    occupation_of: dict[str, Occupation] = field(default_factory=dict)


def read_occupations(shared: Path) -> list[Occupation]:
    """Occupations with at least ten tasks, four reported titles and six technologies or tools, by their O*NET code."""
    titles = _grouped(shared, "reported_titles", "reported_title")
    tasks = _grouped(shared, "tasks", "task")
    technologies = _grouped(shared, "technology_skills", "technology")
    tools = _grouped(shared, "tools_used", "tool")
    found = []
    for occupation in _rows(shared, "occupations"):
        code = occupation["onet_soc"]
        skills = [*technologies[code][:14], *tools[code][:8]]
        if len(tasks[code]) >= 10 and len(titles[code]) >= 4 and len(skills) >= 6:
            found.append(
                Occupation(
                    occupation["title"], occupation["description"], titles[code], tasks[code], sorted(set(skills))
                )
            )
    return found


def compose(shared: Path, seed: int, begin_ms: int, end_ms: int, resumes: int, edits: int) -> Iterator[Transaction]:
    """The life of `resumes` resumes between two times: inserts, `edits` single edits, two bulk updates, deletes, some
    of them taken back, and changes of the key. One resume in six copies another, its skills in another order.
    """
    composer = _Composer(random.Random(seed), read_occupations(shared))
    moments = [(at, "edit") for at in _moments(composer.rng, begin_ms, end_ms, edits)]
    early = resumes // 3
    moments += [(begin_ms - _DAY_MS * (early - i), "insert") for i in range(early)]
    moments += [(at, "insert") for at in _moments(composer.rng, begin_ms, end_ms, resumes - early)]
    for kind, times in (("delete", 18), ("return", 6), ("rekey", 8), ("bulk", 2)):
        middle = begin_ms + (end_ms - begin_ms) // 4
        moments += [(at, kind) for at in _moments(composer.rng, middle, end_ms, times)]
    deleted: list[tuple[str, Row]] = []
    for at_ms, kind in sorted(moments):
        changes = _changes(composer, kind, at_ms, deleted)
        if changes:
            yield Transaction(at_ms, changes)


def _changes(composer: _Composer, kind: str, at_ms: int, deleted: list[tuple[str, Row]]) -> tuple[Change, ...]:
    rng, rows = composer.rng, composer.rows
    at = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat().replace("+00:00", "Z")
    if kind == "insert":
        return (_insert(composer, at),)
    if kind == "return":
        if not deleted:
            return ()
        key, row = deleted.pop(0)
        rows[key] = {**row, "updated_at": at}
        return (Change(RESUMES, "insert", key, rows[key]),)
    if kind == "bulk":
        rows.update({key: {**row, "visibility": "members", "updated_at": at} for key, row in rows.items()})
        return tuple(Change(RESUMES, "update", key, rows[key]) for key in sorted(rows))
    key = rng.choice(sorted(rows))
    if kind == "delete":
        deleted.append((key, rows.pop(key)))
        return (Change(RESUMES, "delete", key, None),)
    if kind == "rekey":
        # A key that changed once may change again: chains are part of the input.
        key = max((k for k in rows if k.startswith("account-")), default=key) if rng.random() < 0.5 else key
        new_key = f"account-{rng.randrange(16**6):06x}"
        rows[new_key] = {**rows.pop(key), "id": new_key, "updated_at": at}
        composer.occupation_of[new_key] = composer.occupation_of[key]
        return (Change(RESUMES, "rekey", new_key, rows[new_key], key),)
    rows[key] = {**_edited(composer, key), "updated_at": at}
    return (Change(RESUMES, "update", key, rows[key]),)


def _insert(composer: _Composer, at: str) -> Change:
    rng = composer.rng
    key = f"r{len(composer.occupation_of) + 1:04d}"
    if composer.rows and rng.random() < 1 / 6:
        twin = rng.choice(sorted(composer.rows))
        skills = rng.sample(composer.rows[twin]["skills"], len(composer.rows[twin]["skills"]))
        row = {**composer.rows[twin], "id": key, "skills": skills, "views": 0, "updated_at": at}
        composer.occupation_of[key] = composer.occupation_of[twin]
    else:
        composer.occupation_of[key] = rng.choice(composer.occupations)
        row = _resume(rng, key, composer.occupation_of[key], at)
    composer.rows[key] = row
    return Change(RESUMES, "insert", key, row)


def _resume(rng: random.Random, key: str, occupation: Occupation, at: str) -> Row:
    stints = rng.randint(2, 4)
    titles = rng.sample(occupation.titles, min(stints, len(occupation.titles)))
    tasks = rng.sample(occupation.tasks, min(stints * rng.randint(3, 6), len(occupation.tasks)))
    year = int(at[:4])
    blocks = []
    for i, title in enumerate(titles):
        since = year - rng.randint(2, 6)
        duties = [f"- {task}" for task in tasks[i :: len(titles)]]
        blocks.append("\n".join([f"{title}, {since} to {year if i else 'now'}", *duties]))
        year = since
    return RESUMES.row(
        id=key,
        title=titles[0],
        summary=_summary(rng, titles[0], occupation, int(at[:4]) - year),
        skills=rng.sample(occupation.skills, min(len(occupation.skills), rng.randint(6, 10))),
        experience="\n\n".join(blocks),
        visibility="private",
        views=0,
        source="composed",
        updated_at=at,
    )


def _summary(rng: random.Random, title: str, occupation: Occupation, years: int) -> str:
    work = occupation.description.split(". ")[0].rstrip(".")
    opening = rng.choice(
        ["{title} for {years} years", "{title}, {years} years of practice", "Worked {years} years as {title}"]
    )
    return f"{opening.format(years=years, title=title)}. {work}."


def _edited(composer: _Composer, key: str) -> Row:
    """The row after one edit of a random kind."""
    rng, row, occupation = composer.rng, composer.rows[key], composer.occupation_of[key]
    experience, task = row["experience"], rng.choice(occupation.tasks)
    match rng.choices(list(_EDITS), weights=list(_EDITS.values()))[0]:
        case "viewed":
            return {**row, "views": row["views"] + rng.randint(1, 9)}
        case "visibility":
            return {**row, "visibility": "public" if row["visibility"] != "public" else "private"}
        case "skills_reordered":
            return {**row, "skills": rng.sample(row["skills"], len(row["skills"]))}
        case "white_space":
            return {**row, "experience": experience.replace("\n- ", "\n -  ", 1) + "\n"}
        case "typography":
            # A non-breaking space, as a word processor pastes it.
            return {**row, "summary": row["summary"].replace(" years", "\u00a0years")}
        case "line_appended":
            return {**row, "experience": f"{experience.rstrip()}\n\nEarlier work on request."}
        case "task_added":
            head, _, rest = experience.partition("\n")
            return {**row, "experience": f"{head}\n- {task}\n{rest}"}
        case _:
            return {**row, "summary": _summary(rng, row["title"], occupation, rng.randint(2, 20))}


def _moments(rng: random.Random, begin_ms: int, end_ms: int, times: int) -> list[int]:
    return [rng.randrange(begin_ms + 1000, end_ms, 1000) for _ in range(times)]


def _grouped(shared: Path, name: str, column: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for row in _rows(shared, name):
        found[row["onet_soc"]].append(row[column])
    return found


def _rows(shared: Path, name: str) -> list[dict[str, str]]:
    with gzip.open(shared / "onet" / f"{name}.csv.gz", "rt", encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text))
