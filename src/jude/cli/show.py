"""How results look: plain tables that fit 80 columns, the same on a terminal and in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jude.observe.progress import duration

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

LONG_AGO_SECONDS: Final = 100 * 86_400


def open_console(*, stderr: bool = False) -> Console:
    """Open a console that prints data as it is: no markup, no highlighting, no emoji codes."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, highlight=False, emoji=False)


def make_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, left: Sequence[str] = ()) -> Table:
    """Lay out rows; the columns named in `left` hold words, the others numbers."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for column in columns:
        if column in left:
            table.add_column(column, overflow="fold", min_width=8)
        else:
            table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def print_json(value: Any) -> None:  # noqa: ANN401  anything that JSON holds
    """Write one JSON document to stdout; times as ISO 8601."""
    import orjson

    data = orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS, default=str)
    sys.stdout.write(data.decode() + "\n")


def plain(text: str, characters: int | None = None) -> str:
    """Give a text on one line, without what could steer a terminal; cut at `characters`."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if characters is None or len(line) <= characters:
        return line
    return line[: characters - 1].rstrip() + "…"


def when(moment: datetime | None) -> str:
    """Write a time in UTC, to the second."""
    return "-" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"


def fresh(seconds: float | None) -> str:
    """Write an age; what was recorded long ago in whole days."""
    long_ago = seconds is not None and seconds >= LONG_AGO_SECONDS
    return f"{(seconds or 0) / 86_400:,.0f} d" if long_ago else duration(seconds)


def percent(part: float, whole: float) -> str:
    """Write a share."""
    return f"{100 * part / whole:.0f}%" if whole else "-"


def count_of(number: int, noun: str) -> str:
    """Write `1 file`, `2 files`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def near(path: Path | str) -> str:
    """Write a path as short as it is clear from here."""
    text = str(path)
    if "://" in text:
        return text
    try:
        return str(Path(text).relative_to(Path.cwd()))
    except ValueError:
        return text
