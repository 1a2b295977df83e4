"""Eight people and the eight jobs they look for: enough for a real model to learn in three updates."""

from __future__ import annotations

import pyarrow as pa

WORDS = ("nurse", "teacher", "welder", "baker", "lawyer", "pilot", "farmer", "actor")


def sentences() -> pa.Table:
    return pa.table(
        {
            "query_text": [f"senior {word}" for word in WORDS],
            "query_type": ["member"] * len(WORDS),
            "document_text": [f"we look for a {word}" for word in WORDS],
            "document_type": ["job"] * len(WORDS),
            "label": pa.array([1.0] * len(WORDS), pa.float32()),
        }
    )
