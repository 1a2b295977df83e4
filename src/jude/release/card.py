"""The model card: what a release is made of and what was measured, written from the facts and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

from jude.release.trained import TrainedRun

if TYPE_CHECKING:
    from jude.evaluation.parity import Parity
    from jude.evaluation.report import Report, SetReport

_LIMITS = """\
- Only the sets above were measured; nothing is claimed for other languages, texts or tasks.
- Intervals are over queries or pairs, not over seeds: this card is of one run.
- `ece` is that of a logistic scale and bias fitted on the other half of the pairs: a cosine alone is no probability.
- Texts past the model's length are cut at their end."""


def model_card(
    run: TrainedRun, report: Report, parity: Parity, *, model_version: str, code: str, written_at: datetime
) -> str:
    """Give the card as Markdown, with the head that model hubs read."""
    sections = [
        _head(run),
        f"# {model_version}\n\nA LoRA adapter merged into `{_base_name(run)}`. For retrieval compare vectors by their "
        f"cosine.\nWritten {written_at:%Y-%m-%d %H:%M} UTC by JUDE {code}.",
        "## Trained with\n\n" + _table(("what", "value"), _settings(run)),
        "## Measured\n\n" + "\n\n".join(_set(one, report) for one in report.sets),
        "## Checked before release\n\n" + _table(("what", "value"), _checks(parity)),
        "## Limits\n\n" + _LIMITS,
        f"## Settings\n\n```json\n{json.dumps(run.settings, indent=1)}\n```",
    ]
    return "\n\n".join(sections) + "\n"


def _head(run: TrainedRun) -> str:
    lines = [
        "library_name: sentence-transformers",
        "pipeline_tag: sentence-similarity",
        f"base_model: {_base_name(run)}",
    ]
    return "\n".join(["---", *lines, "---"])


def _base_name(run: TrainedRun) -> str:
    return run.base.rsplit("/", 1)[-1]


def _settings(run: TrainedRun) -> list[tuple[str, str]]:
    lora, batch = run.settings["lora"], run.settings["batch"]
    phases = [f"{p['name']}: {p['updates']} updates, lr {p['lr']:g}" for p in run.settings["phases"]]
    numbers = [(name.replace("_", " "), f"{value:,.0f}, median") for name, value in run.speed().items()]
    return [
        ("base weights", f"sha256 {run.identity['base'][:16]}"),
        ("data", ", ".join(f"hash {found}" for found in run.identity["data"])),
        ("phases", "; ".join(phases)),
        ("batch", f"{batch['pairs']} pairs over {run.identity['ranks']} ranks ({run.identity['engine']})"),
        ("adapter", f"LoRA rank {lora['rank']}, alpha {lora['alpha']}, {lora['roles']}"),
        ("pooling, length", f"{run.pooling}, {run.settings['model']['max_tokens']} tokens in training"),
        ("mask", run.mask or "the family's own"),
        ("prompts", json.dumps(run.prompts) if run.prompts else "none"),
        ("seed", str(run.settings["run"]["seed"])),
        *numbers,
    ]


def _set(one: SetReport, report: Report) -> str:
    head = f"**{one.name}**: {one.about}" + (f"; data hash {one.data_hash}" if one.data_hash else "")
    columns = ("metric", "count", "this model", report.against or "-", "difference, paired", "p")
    rows = [
        (
            f"{line.metric}{f', {line.slice}' if line.slice else ''}", f"{line.count:,}", f"{line.estimate:.4f}",
            f"{line.gain.old:.4f}" if line.gain else "-", f"{line.gain.difference:+.4f}" if line.gain else "-",
            f"{line.gain.p:.4f}" if line.gain and line.gain.p is not None else "-",
        )
        for line in one.lines
    ]  # fmt: skip
    shared = "" if one.overlap is None else f"\n\nThe first 10 documents of both models are {one.overlap:.0%} the same."
    return f"{head}\n\n{_table(columns, rows)}{shared}"


def _checks(parity: Parity) -> list[tuple[str, str]]:
    return [(name.replace("_", " "), f"{value:.3g}") for name, value in asdict(parity).items()]


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
