"""Where a contract test's online store lies; a new kind joins the suite by one line here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Place:
    kind: str
    path: str


def places(folder: Path) -> dict[str, Place]:
    return {"sqlite": Place("sqlite", str(folder / "online.db"))}
