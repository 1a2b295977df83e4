"""Predicates of the VP loss: what predictions must equal labels over, on average. Plain columns, no torch.

A predicate reads columns of the pairs and gives one or more columns of numbers; a new one is a function in PREDICATES.
"""

# N pairs, M columns

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jude.errors import TerminalTrainingError

Columns = NDArray[np.float32]
Predicate = Callable[[pa.Table], Columns]


def predicate_columns(pairs: pa.Table, names: Sequence[str]) -> Columns:
    """Give Phi [N, M], in the order of the names. Raises TerminalTrainingError for an unknown name or column."""
    unknown = [name for name in names if name not in PREDICATES]
    if unknown:
        raise TerminalTrainingError(f"There is no predicate {unknown[0]!r}. Known: {', '.join(PREDICATES)}.")
    parts = [np.ones((pairs.num_rows, 0), np.float32), *(PREDICATES[name](pairs) for name in names)]
    return np.concatenate(parts, axis=1)


def _values(pairs: pa.Table, column: str, predicate: str) -> list[object]:
    if column not in pairs.column_names:
        raise TerminalTrainingError(f"The predicate {predicate} needs the column {column}, which the pairs lack.")
    values: list[object] = pairs[column].to_pylist()
    return values


def _constant(pairs: pa.Table) -> Columns:
    return np.ones((pairs.num_rows, 1), np.float32)


def _match(what: str) -> Predicate:
    """1 where both sides have the same, known value."""

    def match(pairs: pa.Table) -> Columns:
        sides = [_values(pairs, f"{side}_{what}", f"{what}_match") for side in ("query", "document")]
        same = [a is not None and a == b for a, b in zip(*sides, strict=True)]
        return np.asarray(same, np.float32)[:, None]

    return match


def _overlap(what: str) -> Predicate:
    """Jaccard overlap of the words of both sides."""

    def overlap(pairs: pa.Table) -> Columns:
        sides = [_values(pairs, f"{side}_{what}", f"{what}_overlap") for side in ("query", "document")]
        shares = [_jaccard(_words(a), _words(b)) for a, b in zip(*sides, strict=True)]
        return np.asarray(shares, np.float32)[:, None]

    return overlap


def _words(value: object) -> set[str]:
    words = value if isinstance(value, list) else str(value or "").split()
    return {str(word).casefold() for word in words}


def _jaccard(a: set[str], b: set[str]) -> float:
    return len(a & b) / len(a | b) if a | b else 0.0


def _buckets(column: str, borders: Sequence[float], name: str) -> Predicate:
    """One column per bucket of a number; unknown values are in none."""

    def buckets(pairs: pa.Table) -> Columns:
        values = np.asarray(_values(pairs, column, name), float)
        member = np.digitize(values, borders)[:, None] == np.arange(len(borders) + 1)
        known: Columns = (member & ~np.isnan(values)[:, None]).astype(np.float32)
        return known

    return buckets


def _text_length(pairs: pa.Table) -> Columns:
    characters = np.asarray([len(str(text)) for text in _values(pairs, "document_text", "text_length_bucket")])
    found: Columns = (np.digitize(characters, (100, 500, 2000))[:, None] == np.arange(4)).astype(np.float32)
    return found


def _language(pairs: pa.Table) -> Columns:
    """One column per language; a document whose language is unknown is in none."""
    values = _values(pairs, "document_language", "language")
    known = sorted({str(value) for value in values if value is not None})
    return np.asarray([[value == name for name in known] for value in values], np.float32)


def _number(column: str, name: str) -> Predicate:
    return lambda pairs: np.nan_to_num(np.asarray(_values(pairs, column, name), np.float32))[:, None]


PREDICATES: Final[dict[str, Predicate]] = {
    "constant": _constant,
    "location_match": _match("location"),
    "title_overlap": _overlap("title"),
    "skill_overlap": _overlap("skills"),
    "seniority_gap_bucket": _buckets("seniority_gap", (-1.5, -0.5, 0.5, 1.5), "seniority_gap_bucket"),
    "posting_age_bucket": _buckets("posting_age_days", (7, 30, 90), "posting_age_bucket"),
    "impression_position_bucket": _buckets("impression_position", (1, 3, 10), "impression_position_bucket"),
    "language": _language,
    "text_length_bucket": _text_length,
    "activity_bucket": _buckets("query_activity", (1, 5, 20), "activity_bucket"),
    "judge_grade": _number("judge_grade", "judge_grade"),
    "cross_encoder_score": _number("teacher_score", "cross_encoder_score"),
}
