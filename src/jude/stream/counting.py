"""Count a batch for the ledger: every event has one reason, every changed one has one source of its vector."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime

import pyarrow as pa

from jude.observe.freshness import Histogram
from jude.observe.ledger import BatchCounts
from jude.planning import Key, Reason
from jude.planning.rows import UTC
from jude.stream.effects import Effects, served
from jude.stream.planned import PlannedBatch
from jude.stream.vectors import Vectors

_COLUMNS = ("entity_type", "reason", "level", "writes_text", "input_hash", "n_tokens", "truncated")


def count(batch: PlannedBatch, vectors: Vectors) -> dict[str, BatchCounts]:
    """Count per entity type; '' holds control records and those whose entity could not be told."""
    counts: defaultdict[str, BatchCounts] = defaultdict(BatchCounts)
    if batch.control:
        counts[""].control = batch.control
    seen: set[str] = set()
    rows = zip(*(batch.planned[name].to_pylist() for name in _COLUMNS), strict=True)
    for entity_type, reason, level, writes_text, input_hash, n_tokens, truncated in rows:
        entity = counts[entity_type or ""]
        entity.events_in += 1
        setattr(entity, reason, getattr(entity, reason) + 1)
        if reason == Reason.UNCHANGED:
            setattr(entity, f"unchanged_{level}", getattr(entity, f"unchanged_{level}") + 1)
        elif reason == Reason.SUPERSEDED:
            entity.superseded_texts += writes_text
        elif reason == Reason.CHANGED:
            entity.truncated += truncated
            _count_changed(entity, input_hash, level, n_tokens, seen, vectors)
    return dict(counts)


def _count_changed(
    entity: BatchCounts, input_hash: str, level: str | None, n_tokens: int, seen: set[str], vectors: Vectors
) -> None:
    if not vectors.found[input_hash].own:
        entity.already_stored += 1
        entity.already_stored_input += level == "input"
    elif input_hash in seen:
        entity.duplicate_in_batch += 1
    else:
        entity.inferences += 1
        entity.inferences_repeated += input_hash in vectors.repeated
        entity.tokens += n_tokens
    seen.add(input_hash)


def freshness_of(planned: pa.Table, effects: Effects) -> dict[str, Histogram]:
    """Histogram of source_ts -> available_at of what this batch or a lost try of it made readable, per entity type."""
    clocks: defaultdict[str, list[tuple[datetime, datetime]]] = defaultdict(list)
    rows = served(planned)
    columns = (rows[name].to_pylist() for name in ("entity_type", "entity_id", "source_ts"))
    for entity_type, entity_id, source_ts in zip(*columns, strict=True):
        key = Key(entity_type, entity_id)
        available_at = effects.available_at(key)
        if source_ts is not None and available_at is not None:
            clocks[entity_type].append((source_ts, available_at))
    histograms = {entity_type: Histogram() for entity_type in clocks}
    for entity_type, pairs in clocks.items():
        source_ts, available_at = (pa.array(column, UTC) for column in zip(*pairs, strict=True))
        histograms[entity_type].add_clocks(source_ts, available_at)
    return histograms
