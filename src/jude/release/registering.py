"""Register a model version before its first vector, and hold it unchanged from then on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pyarrow as pa

from jude.encoder.version import Manifest
from jude.errors import TerminalTableError
from jude.tables.protocol import Tables, Txn
from jude.tables.spec import MODEL_VERSIONS

_PER_ENTITY = ("prompts", "render_versions")
_SERVING = {"state": "current", "alias": "current"}
Row = Mapping[str, Any]


def register(tables: Tables, model_version: str, manifest: Manifest, now: datetime, *, may_serve: bool = True) -> None:
    """Make sure that model_versions knows this version, with every entity type it is used for.

    While no version serves, one that may becomes `current`; any other starts as `building`. An entity type that is
    new to the version is added to its manifest.
    may_serve: false for a version that a stream does not use yet, such as a model that was promoted.
    Raises TerminalTableError when the prompt or the rendering of an entity is no longer what the version was made with.
    """
    rows = sorted(tables.model_versions().to_pylist(), key=lambda row: row["valid_from"])
    own = [row for row in rows if row["model_version"] == model_version]
    serves = may_serve and not any(row["alias"] == "current" for row in rows)
    if not own:
        _append(tables, _first_row(model_version, manifest, serving=serves), now, number=0)
        return
    held = json.loads(own[-1]["manifest"])
    made = json.loads(manifest.as_json())
    _require_unchanged(model_version, held, made)
    merged = {**made, **{name: {**held[name], **made[name]} for name in _PER_ENTITY}}
    row = {**own[-1], "manifest": json.dumps(merged, sort_keys=True), **(_SERVING if serves else {})}
    if merged != held or serves:
        _append(tables, row, now, number=len(own))


def _require_unchanged(model_version: str, held: Row, made: Row) -> None:
    for name in _PER_ENTITY:
        changed = sorted(e for e, value in made[name].items() if held[name].get(e, value) != value)
        if changed:
            raise TerminalTableError(
                f"The {name.replace('_', ' ')} of {', '.join(changed)} are not those of {model_version}: "
                "old and new vectors would not be comparable. Undo the change in conf/entities, or set another "
                "encoder.revision: that makes a new model version, which embeds everything anew."
            )


def _first_row(model_version: str, manifest: Manifest, *, serving: bool) -> dict[str, Any]:
    state = _SERVING if serving else {"state": "building", "alias": None}
    width = {"width": manifest.width, "dtype": manifest.stored_dtype}
    return {"model_version": model_version, **state, **width, "manifest": manifest.as_json()}


def _append(tables: Tables, row: Row, now: datetime, number: int) -> None:
    rows = pa.Table.from_pylist([{**row, "valid_from": now}], schema=MODEL_VERSIONS.schema)
    tables.append(MODEL_VERSIONS.name, rows, Txn("release", row["model_version"], number))
