"""Eight people and the eight jobs they look for: enough for a real model to learn in three updates."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

WORDS = ("nurse", "teacher", "welder", "baker", "lawyer", "pilot", "farmer", "actor")


def sentences(words: Sequence[str] = WORDS) -> pa.Table:
    """Other words are for a tiny model, which knows w0 to w59 only."""
    return pa.table(
        {
            "query_text": [f"senior {word}" for word in words],
            "query_type": ["member"] * len(words),
            "document_text": [f"we look for a {word}" for word in words],
            "document_type": ["job"] * len(words),
            "label": pa.array([1.0] * len(words), pa.float32()),
        }
    )
