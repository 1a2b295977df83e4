"""The one door of training data: pairs of texts with a label, as Parquet files or an Arrow table."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jude.errors import TerminalTrainingError

PAIRS: Final = pa.schema(
    [
        pa.field("query_text", pa.string(), nullable=False),
        pa.field("query_type", pa.string(), nullable=False),  # entity type: chooses the prompt
        pa.field("document_text", pa.string(), nullable=False),
        pa.field("document_type", pa.string(), nullable=False),
        pa.field("label", pa.float32(), nullable=False),  # 0 to 1
        pa.field("query_group", pa.string()),  # equal groups are no negatives of each other; null: of no group
        pa.field("document_group", pa.string()),
        pa.field("time", pa.timestamp("us", tz="UTC")),  # when the label was made
        pa.field("source", pa.string()),
    ]
)
"""Further columns are kept: predicates of the VP loss read them (`query_location`, `teacher_score`, ...)."""

_NEEDED: Final = [field.name for field in PAIRS if not field.nullable]


def read_pairs(path: Path) -> pa.Table:
    """Read one Parquet file, a folder of them, or a Delta table, as checked pairs in file order.

    Columns out: those of PAIRS, then any others.
    Raises TerminalTrainingError for what cannot be trained on: which rows, and what to do.
    """
    if not path.exists():
        raise TerminalTrainingError(f"There are no pairs at {path}. Make them, or name others in phases.pairs.")
    return checked(read_table(path), str(path))


def read_table(path: Path) -> pa.Table:
    """Read Parquet or Delta. Raises TerminalTrainingError for a file that is neither."""
    if not (path / "_delta_log").exists():
        try:
            return pq.read_table(path)
        except pa.ArrowInvalid as error:
            raise TerminalTrainingError(f"{path} is not Parquet, or damaged: {error}") from error
    from deltalake import DeltaTable

    return DeltaTable(path).to_pyarrow_table()


def checked(pairs: pa.Table, name: str = "the pairs") -> pa.Table:
    """Hold a table to PAIRS: absent optional columns become null, bad rows are named."""
    table = laid_out(pairs, name)
    if not table.num_rows:
        raise TerminalTrainingError(f"{name} hold no pair. Check the split: the time range may be empty.")
    for problem, test in _PROBLEMS.items():
        bad = pc.indices_nonzero(pc.fill_null(test(table), True)).to_pylist()
        if bad:
            rows = ", ".join(map(str, bad[:5]))
            raise TerminalTrainingError(f"{name}: {len(bad)} rows {problem} (row {rows}). Mend or drop them.")
    return table


def laid_out(pairs: pa.Table, name: str = "the pairs") -> pa.Table:
    """Give the columns of PAIRS, then the others. What is only scored may be what cannot be trained on."""
    missing = [column for column in _NEEDED if column not in pairs.column_names]
    if missing:
        raise TerminalTrainingError(f"{name}: the columns {', '.join(missing)} are missing.")
    others = [column for column in pairs.column_names if column not in PAIRS.names]
    known = [_column(pairs, field, name) for field in PAIRS]
    return pa.table([*known, *(pairs[c] for c in others)], names=[*PAIRS.names, *others]).combine_chunks()


def _column(pairs: pa.Table, field: pa.Field, name: str) -> pa.ChunkedArray | pa.Array:
    if field.name in pairs.column_names:
        found = pairs[field.name]
        try:
            return found.cast(field.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # whose words may hold a text
            raise TerminalTrainingError(
                f"{name}: the column {field.name} holds {found.type}, which is no {field.type}."
            ) from None
    return pa.nulls(pairs.num_rows, field.type)


def _blank(column: str) -> Callable[[pa.Table], pa.ChunkedArray]:
    return lambda table: pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(table[column])), 0)


def _label_outside(table: pa.Table) -> pa.ChunkedArray:
    label = table["label"]
    return pc.invert(pc.and_(pc.greater_equal(label, 0), pc.less_equal(label, 1)))


_PROBLEMS: Final[dict[str, Callable[[pa.Table], pa.ChunkedArray]]] = {
    "have no query_text": _blank("query_text"),
    "have no document_text": _blank("document_text"),
    "have a label outside [0, 1]": _label_outside,
    "pair a text with itself": lambda table: pc.equal(table["query_text"], table["document_text"]),
}


def data_hash(pairs: pa.Table) -> str:
    """16 hex digits over every value and the order of the rows; a resumed run must find the same."""
    digest = sha256(str(pairs.schema.remove_metadata()).encode())
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, pairs.schema.remove_metadata()) as writer:
        writer.write_table(pairs.replace_schema_metadata(None).combine_chunks())
    digest.update(sink.getvalue())
    return digest.hexdigest()[:16]
