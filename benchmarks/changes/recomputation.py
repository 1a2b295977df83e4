"""What the text of every entity is after every change, found out slowly and independently of jude.text and planning.

The plainest reading of a text: the raw columns, NFKC, runs of white space as one space, list columns as sets; markup
read by the standard library's parser, of which only well-known elements are dropped. `plain` is the same without a
look at markup, so that skips which rest on markup alone (`&amp;`, `<br>`) can be told and looked at.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from html.parser import HTMLParser
from typing import Any, Final, TypeAlias

PLACEHOLDER: Final = "__debezium_unavailable_value"
Text: TypeAlias = tuple[Any, ...]
_BLOCKS: Final = frozenset(("br", "div", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "section", "table",
                            "tbody", "td", "th", "thead", "tr", "ul"))  # fmt: skip
_INLINE: Final = frozenset(("a", "b", "em", "i", "span", "strong", "u"))


@dataclass(frozen=True, slots=True)
class Seen:
    """One upsert as the slow reading sees it: what the entity reads now, and what it read until now while it lived."""

    key: str
    text: Text
    before: Text | None
    plain: Text
    plain_before: Text | None

    @property
    def differs(self) -> bool:
        return self.before != self.text

    @property
    def differs_in_markup_only(self) -> bool:
        return not self.differs and self.plain_before != self.plain


class SlowTexts:
    """Follows a stream record by record, in the order per key."""

    def __init__(self, text_columns: tuple[str, ...], set_columns: tuple[str, ...] = ()) -> None:
        self._text_columns, self._set_columns = text_columns, set_columns
        self._rows: dict[str, dict[str, Any]] = {}  # kept across a delete: a key change may need the old values
        self._live: dict[str, Seen] = {}

    def follow(self, record: dict[str, Any]) -> Seen | None:
        """Apply one record; None for what brings no text (a delete, a tombstone)."""
        key, value = record["key"]["id"], record["value"]
        if value is None or value["op"] == "d":
            self._live.pop(key, None)
            return None
        row = self._rows[key] = self._restored(key, record)
        last = self._live.get(key)
        text, plain = self._text(row, _without_markup), self._text(row, str)
        seen = Seen(key, text, last.text if last else None, plain, last.plain if last else None)
        self._live[key] = seen
        return seen

    def _text(self, row: dict[str, Any], read: Callable[[str], str]) -> Text:
        fold = partial(_folded, read)
        texts = tuple(fold(row[name]) for name in self._text_columns)
        return texts + tuple(frozenset(filter(None, map(fold, _items(row[name])))) for name in self._set_columns)

    def _restored(self, key: str, record: dict[str, Any]) -> dict[str, Any]:
        row = dict(record["value"]["after"])
        renamed_from = record["headers"].get("__debezium.oldkey")
        source = key if renamed_from is None else json.loads(renamed_from)["id"]
        for name in (*self._text_columns, *self._set_columns):
            if row[name] == PLACEHOLDER:
                row[name] = self._rows[source][name]
        return row


def _folded(read: Callable[[str], str], raw: object) -> str:
    return " ".join(unicodedata.normalize("NFKC", read("" if raw is None else str(raw))).split())


def _items(raw: object) -> list[object]:
    items = [] if raw is None else json.loads(raw) if isinstance(raw, str) else raw
    assert isinstance(items, list)
    return items


class _Reader(HTMLParser):
    """Keeps the text, and every element that it does not know as it was written."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.parts.append(_in_place_of(tag, self.get_starttag_text() or ""))

    handle_startendtag = handle_starttag

    def handle_endtag(self, tag: str) -> None:
        self.parts.append(_in_place_of(tag, f"</{tag}>"))

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def _in_place_of(tag: str, written: str) -> str:
    return " " if tag in _BLOCKS else "" if tag in _INLINE else written


def _without_markup(text: str) -> str:
    if "<" not in text and "&" not in text:
        return text
    reader = _Reader()
    reader.feed(text)
    reader.close()
    return "".join(reader.parts)
