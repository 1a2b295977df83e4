"""From the raw text columns of an entity to the one text that models read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from jude.text.normalise import normalise

if TYPE_CHECKING:
    from jude.entities import Entity


def render(entity: Entity, fields: Mapping[str, str | None]) -> str:
    """Render the entity's text fields, normalised and labelled, one after the other; "" if nothing is left.

    Fields that are missing, null or empty are left out. A list field is a set: its order, repeats and letter case of
    repeats do not matter.
    """
    parts = []
    for field in entity.text_fields:
        raw = fields.get(field.name)
        if not raw:
            continue
        text = _set_of(raw, entity.volatile) if field.kind == "list" else normalise(raw, entity.volatile)
        if text:
            parts.append(f"{field.label}: {text}" if field.label else text)
    return "\n".join(parts)


def _set_of(raw: str, volatile: Sequence[str]) -> str:
    spellings = sorted(filter(None, (normalise(item, volatile) for item in _items(raw))))
    first_spelling = {item.casefold(): item for item in reversed(spellings)}
    return ", ".join(first_spelling[folded] for folded in sorted(first_spelling))


def _items(raw: str) -> list[str]:
    """Split a list value: a JSON array, or plain text with one item per line."""
    if raw.lstrip().startswith("["):
        try:
            values = json.loads(raw)
        except (ValueError, RecursionError):
            return raw.splitlines()
        return [v if isinstance(v, str) else json.dumps(v, sort_keys=True) for v in values if v is not None]
    return raw.splitlines()
