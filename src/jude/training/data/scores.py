"""A teacher's stored scores, and the pairs that they are for."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from jude.errors import TerminalTrainingError
from jude.training.data.pairs import read_table

KEYS: Final = ("query_text_hash", "document_text_hash")
SCORES: Final = pa.schema(
    [
        pa.field("teacher_version", pa.string(), nullable=False),
        *(pa.field(key, pa.string(), nullable=False) for key in KEYS),
        pa.field("teacher_score", pa.float32(), nullable=False),  # a logit
    ]
)


def text_hashes(texts: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Hash texts as Spark's `sha2(text, 256)` does."""
    return pa.array([sha256(text.encode()).hexdigest() for text in texts.to_pylist()], pa.string())


def with_scores(pairs: pa.Table, path: Path, teacher: str | None = None) -> pa.Table:
    """Lay a teacher's scores beside the pairs, in their order. Columns out: those of the pairs, teacher_score.

    Raises TerminalTrainingError where a pair has no score, or where several teachers scored and none is named.
    """
    scores = _of_one_teacher(read_table(path), path, teacher)
    found = {tuple(row[key] for key in KEYS): row["teacher_score"] for row in scores.to_pylist()}
    keys = zip(*(text_hashes(pairs[f"{side}_text"]).to_pylist() for side in ("query", "document")), strict=True)
    values = [found.get(key) for key in keys]
    if missing := sum(value is None for value in values):
        raise TerminalTrainingError(
            f"{missing} of {len(values)} pairs have no score in {path}: run jobs/score_pairs.py, which adds them."
        )
    kept = pairs.drop_columns([column for column in ("teacher_score",) if column in pairs.column_names])
    return kept.append_column("teacher_score", pa.array(values, pa.float32()))


def _of_one_teacher(scores: pa.Table, path: Path, teacher: str | None) -> pa.Table:
    versions = sorted(pc.unique(scores["teacher_version"]).to_pylist())
    if teacher is None and len(versions) == 1:
        return scores
    if teacher not in versions:
        raise TerminalTrainingError(
            f"{path} holds scores of {', '.join(versions) or 'nobody'}; phases.teacher is {teacher}. Name one of them."
        )
    return scores.filter(pc.equal(scores["teacher_version"], teacher))
