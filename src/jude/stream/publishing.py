"""What a batch tells the output topic: the rows of embedding_history that it wrote, with their vectors."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from jude.output import EmbeddingChange
from jude.stream.pipeline import Pipeline
from jude.stream.vectors import Vectors

_COLUMNS = (
    "entity_type", "entity_id", "model_version", "position", "text_hash", "input_hash", "origin",
    "source_ts", "ingested_at", "embedded_at", "available_at",
)  # fmt: skip


def published_changes(served_rows: pa.Table, vectors: Vectors, pipeline: Pipeline) -> Iterator[EmbeddingChange]:
    """One change per moved pointer; a delete has no vector. Columns in: EMBEDDING_HISTORY.

    Lazy: for 4,000 rows they take 80 ms to make, which a stream without an output topic need not spend.
    """
    for row in served_rows.select(_COLUMNS).to_pylist():
        if row["input_hash"] is None:
            yield EmbeddingChange(**row)
        else:
            vector = vectors.found[row["input_hash"]].data
            yield EmbeddingChange(**row, vector=vector, dtype=pipeline.dtype, dim=pipeline.width)
