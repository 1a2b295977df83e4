"""Which facts a log line may carry: a list of known keys, each with the form its value must have."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

_WORD: Final = re.compile(r"[\w.:/@+=-]{1,160}", re.ASCII)
_UNITS: Final = ("_seconds", "_rows", "_tokens", "_bytes", "_events", "_percent", "_per_second", "_count")
_NUMBERS: Final = frozenset(
    {
        "already_stored",
        "attempt",
        "batch",
        "changed",
        "control",
        "deleted",
        "duplicate_in_batch",
        "events_in",
        "inferences",
        "inferences_repeated",
        "offset",
        "partition",
        "quarantined",
        "slice",
        "stale",
        "superseded",
        "tokens",
        "truncated",
        "unchanged",
        "width",
    }
)
_WORDS: Final = frozenset(
    {
        "alias",
        "entity_type",
        "error_class",
        "input_hash",
        "kind",
        "level",
        "model_version",
        "position",
        "quarantine_id",
        "query",
        "reason",
        "signal",
        "stable_id",
        "stage",
        "table",
        "text_hash",
        "topic",
        "version",
        "writer",
    }
)
_IDS: Final = frozenset({"entity_id", "old_entity_id"})
_TIMES: Final = frozenset({"started_at", "source_ts", "ingested_at", "embedded_at", "available_at"})


def vetted(facts: Mapping[str, object], *, hash_ids: bool) -> dict[str, object]:
    """Keep the facts whose key is known and whose value has its form; name the other keys under `withheld`."""
    kept: dict[str, object] = {}
    withheld = []
    for key, value in facts.items():
        form = _form_of(key, hash_ids)
        fact = form(value) if form is not None else None
        if fact is not None:
            kept[key] = fact
        elif value is not None:
            withheld.append(key if _WORD.fullmatch(key) else "?")
    if withheld:
        kept["withheld"] = ",".join(sorted(withheld))
    return kept


def hashed_id(entity_id: str) -> str:
    """Give 12 hex digits that stand for an entity id."""
    return hashlib.blake2b(
        entity_id.encode("utf-8", "surrogatepass"), digest_size=6, person=b"jude-entity-id"
    ).hexdigest()


def _form_of(key: str, hash_ids: bool) -> Callable[[object], object] | None:
    if key in _NUMBERS or key.endswith(_UNITS):
        return _number
    if key in _WORDS:
        return _word
    if key in _IDS:
        return _hashed if hash_ids else _word
    return _time if key in _TIMES else None


def _number(value: object) -> object:
    return round(value, 6) if isinstance(value, float) else value if isinstance(value, int) else None


def _word(value: object) -> object:
    return str(value) if isinstance(value, str) and _WORD.fullmatch(value) else None


def _hashed(value: object) -> object:
    return hashed_id(value) if isinstance(value, str) else None


def _time(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else None
