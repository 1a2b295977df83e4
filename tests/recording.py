"""Write RECORDS as the JSON lines that `jude.changes.recorded` reads."""

from __future__ import annotations

import base64
import gzip
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import pyarrow as pa


def write_records(path: Path, records: pa.Table) -> None:
    """Write RECORDS as JSON lines (gzip if the name ends so); the file appears whole or not at all.

    It is written under a hidden name first, which the file source ignores, and then renamed.
    """
    hidden = path.with_name(f".{path.name}.writing")
    with _create(hidden, packed=path.suffix == ".gz") as file:
        for row in records.to_pylist():
            file.write(orjson.dumps(_as_json(row)) + b"\n")
    hidden.replace(path)


def _create(path: Path, *, packed: bool) -> BinaryIO | gzip.GzipFile:
    return gzip.GzipFile(path, "wb", compresslevel=6) if packed else path.open("wb")


def _as_json(row: dict[str, Any]) -> dict[str, Any]:
    timestamp = row["timestamp"]
    headers = [{"key": h["key"], **_named("value", h["value"])} for h in row["headers"] or ()]
    plain = all("value" in h for h in headers) and all(a["key"] != b["key"] for a, b in pairwise(_by_key(headers)))
    return {
        "topic": row["topic"],
        "partition": row["partition"],
        "offset": row["offset"],
        "timestamp": None if timestamp is None else round(timestamp.timestamp() * 1000),
        "headers": {h["key"]: h["value"] for h in headers} if plain else headers,
        **_named("key", row["key"]),
        **_named("value", row["value"]),
    }


def _by_key(headers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(headers, key=lambda h: str(h["key"]))


def _named(name: str, value: bytes | None) -> dict[str, Any]:
    """Choose the most readable form that gives the same bytes back."""
    if value is None:
        return {name: None}
    try:
        parsed = orjson.loads(value)
        if not isinstance(parsed, str) and parsed is not None and orjson.dumps(parsed) == value:
            return {name: parsed}
    except orjson.JSONDecodeError:
        pass
    try:
        return {name: value.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(value).decode()}
