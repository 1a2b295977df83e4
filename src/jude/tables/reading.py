"""Reading the tables without Spark: for the command line, a rebuild of the online store, and tests.

A `root` is the folder (or object store prefix) that holds the tables by their names. Every reader takes one row per
natural key: a retried write may have left a rare double.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pa_dataset
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from jude.errors import TerminalTableError
from jude.observe.freshness import Histogram, merged
from jude.observe.ledger import BatchCounts
from jude.tables.failures import damage_named, table_errors
from jude.tables.protocol import TextKey
from jude.tables.spec import LEDGER, QUARANTINED_RECORD, TABLES

Row = dict[str, Any]
BATCH_ROWS: Final = 8_192
_COUNTERS: Final = tuple(BatchCounts.__dataclass_fields__)
_ENTRIES: Final = pa.list_(pa.struct([pa.field("key", pa.int32(), nullable=False), ("value", pa.int64())]))
_RECORD: Final = ("key", "value", "headers")


@dataclass(frozen=True, slots=True)
class EntityHistory:
    """All that is remembered of one entity, oldest first.

    texts: rows of text_history. pointers: rows of embedding_history, of every model version, with their four clocks.
    current: rows of embedding_current, one per model version.
    """

    texts: pa.Table
    pointers: pa.Table
    current: pa.Table


@dataclass(frozen=True, slots=True)
class LedgerTotal:
    """The ledger of one model version and entity type, summed over all batches."""

    model_version: str
    entity_type: str
    batches: int
    last_started_at: datetime
    counts: BatchCounts
    freshness: Histogram


@dataclass(frozen=True, slots=True)
class LedgerBatch:
    """The ledger of one batch and model version, summed over entity types; seconds per stage."""

    writer_query: str
    writer_batch: int
    model_version: str
    started_at: datetime
    counts: BatchCounts
    freshness: Histogram
    seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class Titled:
    """What a person wants to see of a text."""

    title: str
    text: str


def scan(
    root: str | Path, table: str, columns: Sequence[str], where: pc.Expression | None = None
) -> Iterator[pa.RecordBatch]:
    """Stream some columns of a table's newest version, with bounded memory.

    Raises TerminalTableError when there is no such table, TransientTableError when storage fails.
    """
    location = f"{str(root).rstrip('/')}/{table}"
    schema = pa.schema([TABLES[table].schema.field(name).with_nullable(True) for name in columns])
    with table_errors(location):
        try:
            dataset = DeltaTable(location).to_pyarrow_dataset()
        except TableNotFoundError as error:
            raise TerminalTableError(f"There is no table {table} under {root}: is this the right root?") from error
        scanner = dataset.scanner(
            columns=list(columns), filter=where, batch_size=BATCH_ROWS, batch_readahead=2, fragment_readahead=1
        )
        for batch in _batches(scanner, lambda: f"{location}/{_damaged_in(dataset)}"):
            if batch.num_rows:
                yield batch.cast(schema)


def _batches(scanner: pa_dataset.Scanner, damaged: Callable[[], str]) -> Iterator[pa.RecordBatch]:
    with damage_named(damaged):
        yield from scanner.to_batches()


def _damaged_in(dataset: pa_dataset.Dataset) -> str:
    """Read file by file until one fails: the scan of all does not say which it was."""
    for fragment in dataset.get_fragments():
        try:
            for _ in fragment.to_batches():
                pass
        except (pa.ArrowInvalid, OSError):
            return str(fragment.path)
    return "one of its files"


def read(
    root: str | Path, table: str, columns: Sequence[str] | None = None, where: pc.Expression | None = None
) -> pa.Table:
    """Read a table whole, as its spec says; all columns unless named. Raises as `scan`."""
    names = list(columns) if columns is not None else [c.name for c in TABLES[table].columns]
    schema = pa.schema([TABLES[table].schema.field(name).with_nullable(True) for name in names])
    return pa.Table.from_batches(scan(root, table, names, where), schema)


def one_per_key(rows: pa.Table, key: Sequence[str]) -> pa.Table:
    """Keep the first row of each key, in the order of the rows."""
    numbered = rows.select(list(key)).append_column("#", pa.array(range(rows.num_rows), pa.int64()))
    firsts = numbered.group_by(list(key), use_threads=False).aggregate([("#", "min")])["#_min"]
    return rows.take(firsts.combine_chunks().sort())


def current_pointers(
    root: str | Path, entity_type: str | None, model_version: str, status: str | None = "live"
) -> pa.Table:
    """Read the newest pointers of one model version; None stands for every entity type, or both live and deleted.

    Columns out: those of embedding_current.
    """
    where = pc.field("model_version") == model_version
    if entity_type is not None:
        where &= pc.field("entity_type") == entity_type
    if status is not None:
        where &= pc.field("status") == status
    return read(root, "embedding_current", where=where)


def model_of_alias(root: str | Path, alias: str = "current") -> str | None:
    """Give the model version that holds an alias: the newest row that gives it decides."""
    return version_of_alias(read(root, "model_versions", ("model_version", "valid_from", "alias")), alias)


def version_of_alias(model_versions: pa.Table, alias: str = "current") -> str | None:
    """Give the same of rows that were read already."""
    rows = model_versions.filter(pc.field("alias") == alias)
    newest = rows.sort_by([("valid_from", "descending"), ("model_version", "ascending")])
    return str(newest["model_version"][0]) if newest.num_rows else None


def history_of(root: str | Path, entity_type: str, entity_id: str) -> EntityHistory:
    """Read every text and pointer that one entity had."""
    where = (pc.field("entity_type") == entity_type) & (pc.field("entity_id") == entity_id)

    def sorted_rows(table: str, order: Sequence[str]) -> pa.Table:
        rows = read(root, table, where=where).sort_by([(name, "ascending") for name in order])
        return one_per_key(rows, TABLES[table].natural_key)

    return EntityHistory(
        texts=sorted_rows("text_history", ("position", "ingested_at")),
        pointers=sorted_rows("embedding_history", ("position", "model_version", "ingested_at")),
        current=sorted_rows("embedding_current", ("model_version",)),
    )


def titles(root: str | Path, keys: Sequence[TextKey], title_field: str = "title") -> dict[TextKey, Titled]:
    """Read texts with a title: the raw column `title_field`, else the text's first line. Unknown keys are left out."""
    found: dict[TextKey, Titled] = {}
    for entity_type in {key.entity_type for key in keys}:
        wanted = {key for key in keys if key.entity_type == entity_type}
        where = (
            (pc.field("entity_type") == entity_type)
            & pc.field("entity_id").isin(sorted({key.entity_id for key in wanted}))
            & pc.field("position").isin(sorted({key.position for key in wanted}))
        )
        columns = ("entity_type", "entity_id", "position", "fields", "text")
        for row in read(root, "text_history", columns, where).to_pylist():
            key = TextKey(row["entity_type"], row["entity_id"], row["position"])
            if key in wanted and row["text"] is not None:
                title = dict(row["fields"] or ()).get(title_field) or row["text"].split("\n", 1)[0]
                found.setdefault(key, Titled(" ".join(title.split()), row["text"]))
    return found


def ledger_totals(root: str | Path) -> list[LedgerTotal]:
    """Sum the ledger over batches, per model version and entity type."""
    ledger, by = _ledger(root, without=("seconds",)), ("model_version", "entity_type")
    sums = [(name, "sum") for name in _COUNTERS]
    totals = ledger.group_by(list(by)).aggregate([("started_at", "max"), ("writer_batch", "count"), *sums])
    freshness = _freshness(ledger, by)
    return [
        LedgerTotal(
            row["model_version"],
            row["entity_type"],
            row["writer_batch_count"],
            row["started_at_max"],
            BatchCounts(**{name: row[f"{name}_sum"] for name in _COUNTERS}),
            freshness[row["model_version"], row["entity_type"]],
        )
        for row in totals.sort_by([(name, "ascending") for name in by]).to_pylist()
    ]


def last_batches(root: str | Path, n: int) -> list[LedgerBatch]:
    """Read the ledger of the last n batches, newest first; one entry per batch and model version."""
    ledger, batch = _ledger(root), ("started_at", "writer_query", "writer_batch")
    found = ledger.group_by(list(batch)).aggregate([])
    newest = found.sort_by([(name, "descending") for name in batch]).slice(0, n)
    wanted = {tuple(row.values()) for row in newest.select(list(batch)).to_pylist()}
    since = pc.min(newest["started_at"])
    rows = ledger.filter(pc.field("started_at") >= since).to_pylist()
    groups = _grouped(rows, (*batch, "model_version"))
    return [
        LedgerBatch(
            writer_query=query,
            writer_batch=number,
            model_version=version,
            started_at=started_at,
            counts=_summed(rows),
            freshness=merged(dict(row["freshness"] or ()) for row in rows),
            seconds=dict(rows[0]["seconds"] or ()),  # the whole batch's, on each of its rows
        )
        for (started_at, query, number, version), rows in groups[::-1]
        if (started_at, query, number) in wanted
    ]


def freshness_since(root: str | Path, started_at: datetime) -> dict[tuple[str, str], Histogram]:
    """Add up the freshness of the batches that began then or later, per model version and entity type."""
    rows = one_per_key(read(root, "ledger", where=pc.field("started_at") >= started_at), LEDGER.natural_key)
    return _freshness(rows, ("model_version", "entity_type"))


def open_quarantine(root: str | Path, with_records: bool = False) -> pa.Table:
    """Read the records whose latest attempt left them in quarantine, oldest first.

    Columns out: those of quarantine plus attempts (int64); key, value and headers only `with_records`.
    """
    names = [c.name for c in TABLES["quarantine"].columns if with_records or c.name not in _RECORD]
    # Of two attempts at one moment the replay came second: `replayed` sorts after `open`.
    order = [("quarantined_at", "descending"), ("status", "descending"), ("attempt", "descending")]
    rows = read(root, "quarantine", names).sort_by(order)
    attempts = Counter(records_in(one_per_key(rows, (*QUARANTINED_RECORD, "attempt"))))
    still_open = one_per_key(rows, QUARANTINED_RECORD).filter(pc.field("status") == "open")
    column = pa.array([attempts[record] for record in records_in(still_open)], pa.int64())
    return still_open.append_column("attempts", column).sort_by([("quarantined_at", "ascending")])


def records_in(quarantine: pa.Table) -> list[tuple[Any, ...]]:
    """Give the record that each row of quarantine holds. Columns in: QUARANTINED_RECORD"""
    return list(zip(*(quarantine[name].to_pylist() for name in QUARANTINED_RECORD), strict=True))


def _ledger(root: str | Path, without: Sequence[str] = ()) -> pa.Table:
    """Read the whole ledger, as Arrow: a stream of small batches writes a quarter of a million rows a day."""
    names = [column.name for column in LEDGER.columns if column.name not in without]
    return one_per_key(read(root, "ledger", names), LEDGER.natural_key)


def _freshness(ledger: pa.Table, by: Sequence[str]) -> dict[tuple[Any, ...], Histogram]:
    """Add up the histograms of each group; a group without any has an empty one."""
    histograms = ledger["freshness"].combine_chunks().cast(_ENTRIES)  # Arrow's list functions take no map
    buckets, counts = pc.list_flatten(histograms).flatten()
    groups = ledger.select(list(by)).take(pc.list_parent_indices(histograms))
    entries = groups.append_column("bucket", buckets).append_column("count", counts)
    summed = entries.group_by([*by, "bucket"]).aggregate([("count", "sum")])
    found = {tuple(row.values()): Histogram() for row in ledger.group_by(list(by)).aggregate([]).to_pylist()}
    for row in summed.to_pylist():
        found[tuple(row[name] for name in by)].counts[row["bucket"]] = row["count_sum"]
    return found


def _grouped(rows: Sequence[Row], key: Sequence[str]) -> list[tuple[tuple[Any, ...], list[Row]]]:
    """Group rows by some columns, sorted by them."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in key), []).append(row)
    return sorted(groups.items(), key=lambda group: group[0])


def _summed(rows: Sequence[Row]) -> BatchCounts:
    return sum((BatchCounts(**{name: row[name] for name in _COUNTERS}) for row in rows), BatchCounts())
