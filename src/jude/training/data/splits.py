"""Train, validation and test by time, with nothing in two of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from jude.errors import TerminalTrainingError

_SIDES = ("query", "document")


def split_by_time(
    pairs: pa.Table, borders: Mapping[str, datetime], *, apart: tuple[str, ...] = ()
) -> dict[str, pa.Table]:
    """Cut pairs at times: {"train": end, "test": end} gives what is before the first end, then what is before the next.

    apart: columns whose values must not be in two splits (`query_text`, `document_group`): the later split loses them,
    because what was seen first was there to be trained on.
    Raises TerminalTrainingError where a split is empty or a pair has no time.
    """
    if pairs["time"].null_count:
        raise TerminalTrainingError(f"{pairs['time'].null_count} pairs have no time, so they belong to no split.")
    parts: dict[str, pa.Table] = {}
    rest = pairs
    for name, end in sorted(borders.items(), key=lambda item: item[1]):
        before = pc.less(rest["time"], pa.scalar(end, pairs["time"].type))
        part = _without_seen(rest.filter(before), list(parts.values()), apart)
        if not part.num_rows:
            raise TerminalTrainingError(f"The split {name} (before {end:%Y-%m-%d}) is empty. Move its border.")
        parts[name], rest = part, rest.filter(pc.invert(before))
    return parts


def _without_seen(part: pa.Table, earlier: list[pa.Table], apart: tuple[str, ...]) -> pa.Table:
    for column in apart:
        for table in earlier:
            seen = pc.is_in(part[column], value_set=pc.drop_null(table[column]).unique())
            part = part.filter(pc.invert(seen))
    return part


def check_leakage(train: pa.Table, test: pa.Table) -> None:
    """Refuse a test split that was trained on: an equal pair, or a query text of both.

    Raises TerminalTrainingError with how many, and one of them.
    """
    shared = pc.unique(test["query_text"].filter(pc.is_in(test["query_text"], value_set=train["query_text"].unique())))
    if len(shared):
        raise TerminalTrainingError(
            f"{len(shared)} query texts of the test split were trained on, such as {shared[0].as_py()[:80]!r}. "
            "Split with apart=('query_text',)."
        )
    both = [f"{side}_text" for side in _SIDES]
    trained = set(zip(*(train[c].to_pylist() for c in reversed(both)), strict=True))
    tested = set(zip(*(test[c].to_pylist() for c in both), strict=True))
    if turned := trained & tested:
        raise TerminalTrainingError(f"{len(turned)} test pairs were trained on with their sides swapped. Drop them.")
