"""The end of the demo: what came in, what became of it, what it saved, how fresh it is, and what to try next."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from jude.cli.demo.folder import DemoFolder
from jude.cli.demo.progress import Tally
from jude.cli.demo.recording import Recording
from jude.cli.search import hit_line
from jude.cli.show import count_of, near
from jude.cli.status import QUANTILES, show_savings
from jude.observe import BatchCounts, duration
from jude.stream.pipeline import Pipeline
from jude.tables.reading import ledger_totals, open_quarantine
from jude.tables.vectors import Hit, search

if TYPE_CHECKING:
    from rich.console import Console

QUERIES: Final = {
    "job": "software engineer who improves government websites",
    "member": "farmer who cares about rural communities",
    "resume": "nurse in a hospital",
}
COMPOSED: Final = {"resume": "composed, no real person"}
RESULTS: Final = 2


@dataclass(frozen=True, slots=True)
class Told:
    """What both parts did."""

    bulk: Tally
    live: Tally
    recording: Recording


def show_summary(console: Console, folder: DemoFolder, pipeline: Pipeline, told: Told, *, shipped: bool) -> None:
    """Print the summary; `shipped`: the data is the project's own sample, of which part is composed."""
    root = folder.path / "tables"
    counts = {total.entity_type: total.counts for total in ledger_totals(root)}
    console.print("3. What became of it", style="bold")
    show_savings(console, {name: counted for name, counted in counts.items() if name})
    _show_saving(console, told, sum(counts.values(), BatchCounts()))
    _show_freshness(console, told.live)
    _show_quarantine(console, root)
    hits = _show_searches(console, root, pipeline, shipped=shipped)
    _show_places(console, folder)
    _show_next(console, folder, hits)


def _show_saving(console: Console, told: Told, counts: BatchCounts) -> None:
    naive, made = told.recording.upserts.total(), counts.inferences
    if not made:
        return
    tokens_per_text = counts.tokens / made
    speed = told.bulk.tokens_per_second
    saved_seconds = (naive - made) * tokens_per_text / speed if speed else None
    console.print(
        f"\nInferences: {made:,} instead of {naive:,}, one per create, update and snapshot row: "
        f"{naive / made:.1f} times fewer. {counts.superseded:,} texts were overtaken inside their batch: bulk batches "
        "are large; live, most of these would be embedded."
    )
    console.print(
        f"\nEncoder time saved: about {duration(saved_seconds)}, estimated from the measured {speed:,.0f} tokens/s "
        f"and {tokens_per_text:.0f} tokens per text."
    )


def _show_freshness(console: Console, live: Tally) -> None:
    values = ", ".join(f"p{q * 100:.0f} {duration(live.freshness.percentile(q))}" for q in QUANTILES)
    console.print(
        f"\nFreshness of the live part, commit to readable online: {values} ({live.freshness.total} changes). "
        "The replayed part is as old as its recording, so its freshness says nothing."
    )


def _show_quarantine(console: Console, root: Path) -> None:
    classes = Counter(open_quarantine(root)["error_class"].to_pylist())
    kinds = ", ".join(f"{count} {name}" for name, count in classes.most_common())
    found = f"{count_of(classes.total(), 'record')} ({kinds}), kept with all that a replay needs" if kinds else "empty"
    console.print(f"\nQuarantine: {found}.")


def _show_searches(console: Console, root: Path, pipeline: Pipeline, *, shipped: bool) -> dict[str, Hit]:
    """Print the best results of one query per entity type; gives the best of each."""
    best = {}
    for entity_type, text in QUERIES.items():
        if entity_type not in pipeline.entities:
            continue
        (model_input,) = pipeline.tokeniser.inputs(entity_type, [text])
        vectors = pipeline.encode({model_input.input_hash: model_input.token_ids}).vectors
        title_field = pipeline.entities[entity_type].title_field
        query = vectors[model_input.input_hash]
        hits = search(root, query, entity_type, pipeline.model_version, RESULTS, title_field)
        note = f" ({COMPOSED[entity_type]})" if shipped and entity_type in COMPOSED else ""
        console.print(f'\nsearch {entity_type}: "{text}"{note}', style="bold")
        for hit in hits:
            console.print(hit_line(hit, console.width), soft_wrap=True)
        if hits:
            best[entity_type] = hits[0]
    return best


def _show_places(console: Console, folder: DemoFolder) -> None:
    console.print("\nWhere it is", style="bold")
    console.print(f"  Delta tables  {near(folder.path / 'tables')}")
    console.print(f"  online store  {near(folder.path / 'online.sqlite')}")
    console.print(f"  settings      {near(folder.conf)}")


def _show_next(console: Console, folder: DemoFolder, hits: dict[str, Hit]) -> None:
    settings = f"--conf {shlex.quote(near(folder.conf))}"
    commands = [
        "status",
        'search "teacher of mathematics"',
        *(f"explain {entity_type} {shlex.quote(hit.entity_id)}" for entity_type, hit in list(hits.items())[:1]),
        'sql "select entity_type, count(*) from embeddings group by 1"',
        "quarantine list",
    ]
    console.print("\nWhat to try next", style="bold")
    for command in commands:
        console.print(f"  {_program()} {command} {settings}", soft_wrap=True)


def _program() -> str:
    """Give the name under which a person can call this program again."""
    started_as = Path(sys.argv[0])
    if shutil.which("jude") or started_as.name != "jude":
        return "jude"
    return near(started_as)
