"""What a batch tells the output topic: the rows of embedding_history that it wrote, with their vectors."""

from __future__ import annotations

import pyarrow as pa

from jude.output import EmbeddingChange
from jude.stream.pipeline import Pipeline
from jude.stream.vectors import Vectors

_COLUMNS = (
    "entity_type", "entity_id", "model_version", "position", "text_hash", "input_hash", "origin",
    "source_ts", "ingested_at", "embedded_at", "available_at",
)  # fmt: skip


def published_changes(served_rows: pa.Table, vectors: Vectors, pipeline: Pipeline) -> list[EmbeddingChange]:
    """One change per moved pointer; a delete has no vector. Columns in: EMBEDDING_HISTORY."""
    changes = []
    for row in served_rows.select(_COLUMNS).to_pylist():
        if row["input_hash"] is None:
            changes.append(EmbeddingChange(**row))
        else:
            vector = vectors.found[row["input_hash"]].data
            changes.append(EmbeddingChange(**row, vector=vector, dtype=pipeline.dtype, dim=pipeline.width))
    return changes
