"""`jude status`: what the tables hold, how fresh it is, and which inference was saved why."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from jude.cli.lag import lag_of
from jude.cli.place import Place, nothing_here
from jude.cli.show import count_of, fresh, make_table, near, open_console, percent, print_json, when
from jude.observe import BatchCounts, Histogram, duration
from jude.tables.reading import (
    LedgerBatch,
    freshness_since,
    last_batches,
    ledger_totals,
    one_per_key,
    open_quarantine,
    read,
)
from jude.tables.spec import EMBEDDING_CURRENT

if TYPE_CHECKING:
    from rich.console import Console

BATCHES_SHOWN: Final = 8
QUANTILES: Final = (0.5, 0.95, 0.99)
_FATES: Final = "what became of the events"


@dataclass(frozen=True, slots=True)
class EntityStatus:
    """One entity type under one model version; `entity_type` is '' for records whose entity could not be told."""

    entity_type: str
    model_version: str
    live: int
    deleted: int
    quarantined: int  # open records
    last_batch_at: datetime | None
    counts: BatchCounts
    recent: Histogram  # freshness of the recent batches


@dataclass(frozen=True, slots=True)
class Status:
    """A deployment at a glance."""

    root: str
    empty: bool
    lag: str
    recent_batches: int
    entities: list[EntityStatus]
    batches: list[LedgerBatch]


def read_status(place: Place, last: int) -> Status:
    """Read ledger, pointers and quarantine; freshness is that of the `last` batches."""
    if place.is_empty:
        return Status(place.root, True, lag_of(place.settings), 0, [], [])
    rows = _rows_by_kind(place.root)
    still_open = Counter(open_quarantine(place.root)["entity_type"].to_pylist())
    batches = last_batches(place.root, last)
    recent = freshness_since(place.root, batches[-1].started_at) if batches else {}
    totals = {(total.model_version, total.entity_type): total for total in ledger_totals(place.root)}
    keys = sorted(totals.keys() | {(version, entity_type) for entity_type, version, _ in rows})
    entities = [
        EntityStatus(
            entity_type=entity_type,
            model_version=version,
            live=rows[entity_type, version, "live"],
            deleted=rows[entity_type, version, "deleted"],
            quarantined=still_open[entity_type or None],
            last_batch_at=totals[version, entity_type].last_started_at if (version, entity_type) in totals else None,
            counts=totals[version, entity_type].counts if (version, entity_type) in totals else BatchCounts(),
            recent=recent.get((version, entity_type), Histogram()),
        )
        for version, entity_type in keys
    ]
    return Status(place.root, False, lag_of(place.settings), len(batches), entities, batches)


def _rows_by_kind(root: str) -> Counter[tuple[str, str, str]]:
    """Count the pointers by entity type, model version and status."""
    kind = ("entity_type", "model_version", "status")
    columns = (*EMBEDDING_CURRENT.natural_key, "status")
    rows = one_per_key(read(root, "embedding_current", columns), EMBEDDING_CURRENT.natural_key)
    counted = rows.group_by(list(kind)).aggregate([("entity_id", "count")]).to_pylist()
    return Counter(
        {(row["entity_type"], row["model_version"], row["status"]): row["entity_id_count"] for row in counted}
    )


def show_status(status: Status, *, as_json: bool) -> None:
    """Print four small tables, or one JSON object."""
    if as_json:
        print_json(_as_json(status))
        return
    console = open_console()
    if status.empty:
        console.print(nothing_here(status.root))
        return
    console.print(f"Tables {near(status.root)}; source: {status.lag}")
    for version in sorted({entity.model_version for entity in status.entities}):
        entities = [entity for entity in status.entities if entity.model_version == version]
        console.print(f"\nModel version {version}", style="bold")
        _show_rows(console, entities, status.recent_batches)
        show_savings(console, {entity.entity_type: entity.counts for entity in entities})
    _show_batches(console, status.batches)
    if waiting := sum({e.entity_type: e.quarantined for e in status.entities}.values()):
        console.print(f"\n{count_of(waiting, 'record')} in quarantine: `jude quarantine list`.")


def _show_rows(console: Console, entities: list[EntityStatus], recent_batches: int) -> None:
    rows = [
        (
            entity.entity_type or "(unknown)",
            f"{entity.live:,}",
            f"{entity.deleted:,}",
            f"{entity.quarantined:,}",
            *(fresh(entity.recent.percentile(q)) for q in QUANTILES),
            when(entity.last_batch_at)[5:16],
        )
        for entity in entities
        if entity.entity_type or entity.quarantined
    ]
    columns = ("entity", "live", "deleted", "quarant.", "p50", "p95", "p99", "last batch")
    console.print(make_table(columns, rows, left=("entity",)))
    console.print(
        f"Freshness (p50 to p99), commit to readable, is that of the last {recent_batches} batches.", style="dim"
    )


def show_savings(console: Console, counts: dict[str, BatchCounts]) -> None:
    """Print, per entity type, how many events needed no inference, and the reason of each."""
    reasons = {
        "events": "events_in",
        "other columns changed": "unchanged_columns",
        "cosmetic edit": "unchanged_text",
        "edit past the model's length": "already_stored_input",
        "vector already stored": "_stored_by_another",
        "same text twice in a batch": "duplicate_in_batch",
        "overtaken within its batch": "superseded",
        "not newer than known": "stale",
        "deleted": "deleted",
        "to quarantine": "quarantined",
        "inferences": "inferences",
    }
    whole = sum(counts.values(), BatchCounts())
    shown = {name or "(unknown)": c for name, c in counts.items() if c.events_in} | {"all": whole}
    rows = [(label, *(f"{_count(c, name):,}" for c in shown.values())) for label, name in reasons.items()]
    saved = ("events without inference", *(percent(c.events_in - c.inferences, c.events_in) for c in shown.values()))
    console.print()
    console.print(make_table((_FATES, *shown), [*rows, saved], left=(_FATES,)))


def _count(counts: BatchCounts, name: str) -> int:
    if name == "_stored_by_another":
        return counts.already_stored - counts.already_stored_input
    return int(getattr(counts, name))


def _show_batches(console: Console, batches: list[LedgerBatch]) -> None:
    rows = [
        (
            when(batch.started_at),
            f"{batch.writer_batch}",
            f"{batch.counts.events_in:,}",
            percent(batch.counts.skipped, batch.counts.events_in),
            f"{batch.counts.inferences:,}",
            fresh(batch.freshness.percentile(0.95)),
            duration(sum(batch.seconds.values())),
        )
        for batch in batches[:BATCHES_SHOWN]
    ]
    console.print("\nLast batches", style="bold")
    console.print(make_table(("began (UTC)", "batch", "events", "skipped", "inferences", "fresh p95", "took"), rows))


def _as_json(status: Status) -> dict[str, Any]:
    def freshness(histogram: Histogram) -> dict[str, float | None]:
        return {f"p{q * 100:.0f}_seconds": histogram.percentile(q) for q in QUANTILES}

    entities = [
        {
            "entity_type": e.entity_type,
            "model_version": e.model_version,
            "live": e.live,
            "deleted": e.deleted,
            "quarantine_open": e.quarantined,
            "last_batch_at": e.last_batch_at,
            "counts": asdict(e.counts),
            "recent_freshness": freshness(e.recent),
        }
        for e in status.entities
    ]
    batches = [asdict(b) | {"freshness": freshness(b.freshness)} for b in status.batches]
    return {"root": status.root, "empty": status.empty, "source": status.lag, "entities": entities, "batches": batches}
