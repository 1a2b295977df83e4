"""From challenger to champion: measured against the one that serves, or refused with the reason.

A champion is what a deployment should serve next. Its row in model_versions (state `building`) is where a backfill
begins; readers move when the alias `current` of the tables does, not before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Final

from jude.encoder import EncoderSpec, manifest_of, open_tokeniser
from jude.encoder.packaged import MINILM
from jude.errors import TerminalTrainingError
from jude.release.candidates import measure_both, served_as
from jude.release.registering import register
from jude.release.registry import CHAMPION, FORMER, Registered, Registry
from jude.tables.protocol import Tables

if TYPE_CHECKING:
    from jude.evaluation.report import Report, SetReport
    from jude.evaluation.sets import EvaluationSet

Say = Callable[[str], None]

FORGETTING: Final = 0.02
"""A set that no training pair resembles (STS, SciFact) may fall by so much, unless a caller says otherwise."""


@dataclass(frozen=True, slots=True)
class Promoted:
    """Who is champion now, and why."""

    version: Registered
    former: Registered | None
    model_version: str
    report: Report
    gates: list[str]


def promote(
    wanted: str,
    registry: Registry,
    deployment: EncoderSpec,
    sets: Sequence[EvaluationSet],
    tables: Tables,
    now: datetime,
    *,
    forgetting: float = FORGETTING,
    despite: str | None = None,
    say: Say = lambda _: None,
) -> Promoted:
    """Let `champion` point at a version, and give it a row in model_versions.

    despite: a reason to promote although a quality gate is shut (a rollback); it is written down with the version.
    Raises TerminalTrainingError with the gate that is shut, or where another became champion meanwhile;
    TerminalSettingsError for a version that there is not.
    """
    version = registry.find(wanted)
    former = registry.held_by(CHAMPION)
    spec = served_as(deployment, registry.folder(version))
    model_version = require_unchanged(version, spec)
    report = measure_both(version.uri, spec, _before(registry, former, deployment), sets, say)
    gates = _gates(report, forgetting, despite)
    _require_still(registry, former)
    tables.ensure()
    register(tables, model_version, manifest_of(spec), now, may_serve=False)
    if former is None or former.number != version.number:  # a champion keeps the gates that made it one
        registry.tag(version, {"promoted_at": now.isoformat(), "gates": "; ".join(gates)})
        if former is not None:
            registry.point(FORMER, former)
        registry.point(CHAMPION, version)
    return Promoted(registry.find(str(version.number)), former, model_version, report, gates)


def require_unchanged(version: Registered, spec: EncoderSpec) -> str:
    """Give the model version of the files. Raises TerminalTrainingError where they are not those that were gated."""
    found, held = open_tokeniser(spec).model_version, version.tags.get("model_version")
    if held is None:
        raise TerminalTrainingError(
            f"{version.uri} went through no gate: it was not registered by `jude model register`, so nothing is known "
            "of how it was merged."
        )
    if found != held:
        raise TerminalTrainingError(
            f"{version.uri} was checked as {held}; its files and this deployment's encoder settings make {found}. "
            "Register it again with these settings."
        )
    return found


def _require_still(registry: Registry, former: Registered | None) -> None:
    """Measuring takes minutes: a champion of another promotion must not be replaced by what never met it."""
    champion = registry.held_by(CHAMPION)
    if champion is not None and (former is None or champion.number != former.number):
        raise TerminalTrainingError(
            f"{champion.uri} became the champion meanwhile, and was not measured against. Promote again."
        )


def _before(registry: Registry, former: Registered | None, deployment: EncoderSpec) -> tuple[str, EncoderSpec]:
    """Name who serves: the champion, else what the deployment is set to."""
    if former is not None:
        return former.uri, served_as(deployment, registry.folder(former))
    return (deployment.path or MINILM if deployment.kind == "folder" else deployment.kind), deployment


def _gates(report: Report, forgetting: float, despite: str | None) -> list[str]:
    """Give a sentence per gate. Raises TerminalTrainingError at the first that is shut, unless there is a reason."""
    passed = []
    gates: dict[str, Callable[[], str]] = {one.name: partial(_gate, one, forgetting) for one in report.sets}
    if not any(_is_of_the_trade(one) for one in report.sets):
        gates["release"] = _refuse_unmeasured
    for name, gate in gates.items():
        try:
            passed.append(gate())
        except TerminalTrainingError as shut:
            if despite is None:
                raise
            passed.append(f"{name}: shut ({shut}), promoted despite it: {despite}")
    return passed


def _is_of_the_trade(one: SetReport) -> bool:
    from jude.evaluation.sets import GUARDS

    return one.name not in GUARDS and one.line("ndcg_at_10") is not None


def _refuse_unmeasured() -> str:
    raise TerminalTrainingError(
        "The release gate is shut: nDCG@10 was measured on no set of the trade. Measure on titles, melo or a file of "
        "your own pairs, too (--on)."
    )


def _gate(one: SetReport, forgetting: float) -> str:
    """A set of the trade may not lose 0.01 at the lower bound; one of no trade may not fall by more than allowed."""
    from jude.evaluation.gates import require_gain, require_queries, require_remembered
    from jude.evaluation.sets import GUARDS

    metric = "ndcg_at_10" if one.line("ndcg_at_10") else "spearman"
    line = one.line(metric)
    if line is None or line.gain is None:
        raise TerminalTrainingError(f"{one.name} has neither nDCG@10 nor a rank correlation: there is no gate for it.")
    if one.name in GUARDS:
        lost = require_remembered(f"{one.name} {metric}", line.estimate.mean, line.gain.old.mean, forgetting)
        return f"{one.name}: {metric} {lost:+.4f}, at least -{forgetting:g}"
    require_queries(one.name, line.count)
    gain = require_gain(line.gain.difference)
    return f"{one.name}: {metric} {gain}"
