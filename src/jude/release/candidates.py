"""From a finished run to a registered challenger: merge, hold the merge to the adapter, measure, write it all down."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jude.encoder import EncoderSpec, open_tokeniser
from jude.encoder.packaged import MINILM
from jude.errors import TerminalSettingsError, TerminalTrainingError
from jude.release.card import model_card
from jude.release.registry import ADAPTER_FOLDER, CHALLENGER, CHAMPION, MODEL_FOLDER, Registered, Registry
from jude.release.tracking import track
from jude.release.trained import TrainedRun, code_version, merge_run

if TYPE_CHECKING:
    from jude.evaluation.report import Report
    from jude.evaluation.sets import EvaluationSet

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Candidate:
    """What was registered, and what was measured on the way."""

    version: Registered
    model_version: str
    report: Report
    card: Path


def register_candidate(
    run: TrainedRun,
    registry: Registry,
    deployment: EncoderSpec,
    sets: Sequence[EvaluationSet],
    now: datetime,
    say: Say = lambda _: None,
) -> Candidate:
    """Make a release of a run, and let the alias `challenger` point at it.

    `deployment` is how the deployment would serve it: prompts, length, dtypes. It is compared with the champion, or
    with its own base where there is none.
    Raises TerminalTrainingError with the gate that is shut, TerminalSettingsError where prompts differ.
    """
    from jude.evaluation.parity import require_parity

    require_prompts(run, deployment)
    say("merging the adapter")
    folder = merge_run(run, registry.name)
    released = served_as(deployment, folder / MODEL_FOLDER)
    say("holding the merged model to base and adapter")
    parity = require_parity(run.spec(), released, _collection(sets))
    report = measure_both(f"{registry.name} (new)", released, champion_or_base(registry, run, deployment), sets, say)
    model_version = open_tokeniser(released).model_version
    card = folder / MODEL_FOLDER / "README.md"
    card.write_text(model_card(run, report, parity, model_version=model_version, code=code_version(), written_at=now))
    say("logging to MLflow")
    numbers = report.numbers() | {f"gate.{name}": float(value) for name, value in asdict(parity).items()}
    facts = {"report.json": report.as_dict(), "parity.json": asdict(parity)}
    version = _log(run, registry, folder, numbers, facts, model_version)
    registry.point(CHALLENGER, version)
    return Candidate(registry.find(str(version.number)), model_version, report, card)


def served_as(deployment: EncoderSpec, folder: Path) -> EncoderSpec:
    """Give the deployment's encoder with this model in it."""
    return replace(deployment, kind="folder", path=str(folder), adapter=None, pooling=None, normalise=None, mask=None)


def champion_or_base(registry: Registry, run: TrainedRun, deployment: EncoderSpec) -> tuple[str, EncoderSpec]:
    """Name who a new model is compared with."""
    champion = registry.held_by(CHAMPION)
    if champion is not None:
        return champion.uri, served_as(deployment, registry.folder(champion))
    base = served_as(deployment, run.base_folder)
    return (MINILM if run.base == MINILM else run.base), replace(base, pooling=run.pooling, mask=run.mask)


def measure_both(
    name: str, spec: EncoderSpec, against: tuple[str, EncoderSpec], sets: Sequence[EvaluationSet], say: Say
) -> Report:
    """Measure two models on the same queries, each as it would serve."""
    from jude.evaluation.encoding import encode_by
    from jude.evaluation.report import measure

    return measure(name, encode_by(spec), sets, against=(against[0], encode_by(against[1])), say=say)


def require_prompts(run: TrainedRun, deployment: EncoderSpec) -> None:
    """Raise TerminalSettingsError where the deployment would put other words before texts than training did."""
    trained = run.prompts
    differing = [kind for kind, prompt in deployment.prompts.items() if prompt != trained.get(kind, "")]
    if differing:
        raise TerminalSettingsError(
            f"The run was trained with other prompts than conf/entities has for {', '.join(sorted(differing))} "
            f"(trained: { {kind: trained.get(kind, '') for kind in differing} }). Serve it with those, or train anew."
        )


def _collection(sets: Sequence[EvaluationSet]) -> Any:  # noqa: ANN401  a Retrieval, of a world with torch
    for one in sets:
        if one.retrieval is not None:
            return one.retrieval
    raise TerminalTrainingError(
        "The gates need a set of queries and documents, such as `titles`; these have pairs only."
    )


def _log(
    run: TrainedRun, registry: Registry, folder: Path, numbers: dict[str, float], facts: dict[str, Any], version: str
) -> Registered:
    from jude.encoder.importing import log_mlflow

    run_id = track(run, registry, numbers, facts)
    with registry.asked():
        number = log_mlflow(folder / MODEL_FOLDER, folder / ADAPTER_FOLDER, run_id, registry.name)
    made = registry.find(str(number))
    registry.tag(made, {"model_version": version, "data": json.dumps(run.identity["data"]), "code": code_version()})
    return made
