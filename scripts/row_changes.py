"""Row-level changes as a database makes them, before any change data capture: tables, changes, transactions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

Row: TypeAlias = dict[str, Any]
Op: TypeAlias = Literal["insert", "update", "delete", "rekey"]

EPOCH_TEXT: Final = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Table:
    """One table: its columns, each with the value that Debezium invents for it in a delete's `before`.

    None stands for a nullable column without a default: nothing is invented there.
    """

    name: str
    invented: Row
    schema: str = "public"

    @property
    def topic(self) -> str:
        return f"jude.{self.schema}.{self.name}"

    def row(self, **values: object) -> Row:
        """One full row in column order; what is not given is null. Raises: KeyError for a column the table lacks."""
        unknown = sorted(set(values) - set(self.invented))
        if unknown:
            raise KeyError(f"{self.name} has no column {unknown[0]!r}: its columns are {', '.join(self.invented)}")
        return {column: values.get(column) for column in self.invented}


@dataclass(frozen=True, slots=True)
class Change:
    """One changed row. `row` is the full row afterwards (None for a delete); `old_key` is set for a rekey only."""

    table: Table
    op: Op
    key: str
    row: Row | None
    old_key: str | None = None

    @property
    def keys(self) -> set[tuple[str, str]]:
        """The (table, key) pairs whose order this change takes part in."""
        return {(self.table.name, key) for key in (self.key, self.old_key) if key is not None}


@dataclass(frozen=True, slots=True)
class Transaction:
    """Changes that commit together. `at_ms` is the commit time in milliseconds since the epoch."""

    at_ms: int
    changes: tuple[Change, ...]


def epoch_ms(text: str) -> int:
    """Milliseconds since the epoch of an ISO time; a time without a zone is refused. Raises: ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} names no time zone: add Z or an offset")
    return int(moment.timestamp() * 1000)


def split_at(history: Iterable[Transaction], at_ms: int) -> tuple[list[tuple[Table, Row]], list[Transaction]]:
    """Cut a history in two: the rows that live at `at_ms` (by table and key), and the transactions after it."""
    live: dict[tuple[str, str], tuple[Table, Row]] = {}
    later: list[Transaction] = []
    for transaction in history:
        if transaction.at_ms > at_ms:
            later.append(transaction)
            continue
        for change in transaction.changes:
            for name in change.keys:
                live.pop(name, None)
            if change.row is not None:
                live[change.table.name, change.key] = (change.table, change.row)
    return [live[name] for name in sorted(live)], later


JOBS: Final = Table(
    "jobs",
    {
        "id": "",
        "title": "",
        "organisation": "",
        "location": None,
        "description": "",
        "pay": None,
        "grade": None,
        "series": None,
        "announcement": None,
        "opens": None,
        "closes": None,
        "status": "open",
        "revision": None,
        "updated_at": EPOCH_TEXT,
    },
)
MEMBERS: Final = Table(
    "members",
    {
        "id": "",
        "name": "",
        "headline": "",
        "experience": "",
        "contact_json": "{}",
        "revision": None,
        "updated_at": EPOCH_TEXT,
    },
)
RESUMES: Final = Table(
    "resumes",
    {
        "id": "",
        "title": "",
        "summary": None,
        "skills": [],
        "experience": "",
        "visibility": "private",
        "views": 0,
        "source": "composed",
        "updated_at": EPOCH_TEXT,
    },
)
COMPANIES: Final = Table(
    "companies",
    {
        "id": "",
        "name": "",
        "description": "",
        "region": None,
        "website": None,
        "careers_url": None,
        "remote_policy": None,
        "company_size": None,
        "technologies": None,
        "revision": None,
        "updated_at": EPOCH_TEXT,
    },
)
INTERNSHIPS: Final = Table(
    "internships",
    {
        "id": "",
        "title": "",
        "company_name": "",
        "locations": [],
        "terms": None,
        "category": None,
        "season": None,
        "sponsorship": None,
        "active": True,
        "is_visible": True,
        "source": None,
        "date_posted": None,
        "date_updated": None,
        "url_h": None,
        "company_url_h": None,
        "updated_at": EPOCH_TEXT,
    },
)
