"""An input that the encoder cannot read quarantines its events; pointer and position of their keys stay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa

from jude.planning import Key, Reason
from jude.planning.rows import MOVE, PLANNED
from jude.stream.planned import PlannedBatch

_MOVE_NAMES = tuple(f.name for f in MOVE)


def without_failed(batch: PlannedBatch, failed: Mapping[str, str]) -> PlannedBatch:
    """Turn `changed` rows of failed inputs into quarantined ones, and their keys' moves into markers.

    `failed`: input_hash -> why. All duplicates of a failed input fail with it.
    """
    if not failed:
        return batch
    rows = batch.planned.to_pylist()
    known = {Key(k["entity_type"], k["entity_id"]): k for k in batch.known.to_pylist()}
    blocked: dict[Key, str] = {}
    for row in rows:
        if row["reason"] == Reason.CHANGED and row["input_hash"] in failed:
            blocked[_key(row)] = row["position"]
            row.update(reason=Reason.QUARANTINED.value, error_class="encoder_failed", error=failed[row["input_hash"]])
            row.update(level=None, writes_text=False, input_hash=None, token_ids=None, n_tokens=None, truncated=None)
    for row in rows:
        if row["move"] is not None and _key(row) in blocked:
            row["move"] = _marker(known.get(_key(row)), blocked[_key(row)])
    return replace(batch, planned=pa.Table.from_pylist(rows, schema=PLANNED))


def _key(row: Mapping[str, Any]) -> Key:
    return Key(row["entity_type"], row["entity_id"])


def _marker(known: Mapping[str, Any] | None, position: str) -> dict[str, Any] | None:
    """What is stored already, plus the word that a newer change lies in quarantine; nothing for an unknown key."""
    if known is None:
        return None
    move = {name: known.get(name) for name in _MOVE_NAMES}
    return move | {"quarantined_position": max(known["quarantined_position"] or "", position)}
