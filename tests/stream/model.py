"""What must come out, said a second time and in the plainest way: a database in memory that also remembers its texts.

Written without `plan_batch` and its parts on purpose. It sees what happened in the database, one change at a time in
commit order; the tests compare it with what JUDE made of the records.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Truth:
    """Rows by key, the last text and position each key had, and every text change."""

    rows: dict[str, dict[str, str]] = field(default_factory=dict)
    last_text: dict[str, str] = field(default_factory=dict)
    touched: dict[str, tuple[int, int]] = field(default_factory=dict)  # key -> (lsn, tx_order) of its newest change
    texts: list[tuple[str, int, str | None]] = field(default_factory=list)  # (key, lsn, text or None)
    served: dict[str, str | None] = field(default_factory=dict)  # key -> text whose vector readers get; None: deleted

    def upsert(self, key: str, row: dict[str, str], lsn: int, tx_order: int = 0) -> None:
        text = _text(row)
        if key not in self.rows or self.last_text[key] != text:
            self.texts.append((key, lsn, text))
        self.rows[key], self.last_text[key] = row, text
        self.touched[key], self.served[key] = (lsn, tx_order), text

    def delete(self, key: str, lsn: int, tx_order: int = 0) -> None:
        if key in self.rows:
            self.texts.append((key, lsn, None))
        self.rows.pop(key, None)
        self.touched[key], self.served[key] = (lsn, tx_order), None

    def rename(self, old: str, new: str, row: dict[str, str], lsn: int) -> None:
        self.delete(old, lsn, 1)
        self.upsert(new, row, lsn, 2)


def _text(row: dict[str, str]) -> str:
    title, description = " ".join(row["title"].split()), " ".join(row["description"].split())
    return f"Title: {title}\nOrganisation: GSA\nLocation: Remote\n{description}"
