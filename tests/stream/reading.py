"""Read Delta tables whole, for comparison."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from deltalake import DeltaTable


def rows_of(root: Path, table: str, without: Collection[str] = ()) -> list[dict[str, Any]]:
    """All rows of a table, without some columns, in an order that depends on the rows only."""
    rows = DeltaTable(str(root / table)).to_pyarrow_table().to_pylist()
    kept = [{k: v for k, v in row.items() if k not in without} for row in rows]
    return sorted(kept, key=lambda row: sorted((k, str(v)) for k, v in row.items()))
