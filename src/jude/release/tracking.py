"""A finished run into MLflow: settings, every logged number and the adapter, after training and apart from it.

The run's own log.jsonl is the source: training needs no server, and a lost server loses nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from jude.release.registry import Registry
from jude.release.trained import TrainedRun, code_version

EXPERIMENT: Final = "jude-training"
_RUN_FILE: Final = "mlflow_run.json"
_METRICS_AT_ONCE: Final = 1000  # what MLflow takes in one call


def track(
    run: TrainedRun,
    registry: Registry,
    numbers: Mapping[str, float] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> str:
    """Log a run and give the id of its MLflow run; called again, it adds `numbers` and `facts` to the same one.

    numbers: further metrics. facts: further JSON documents, by file name.
    """
    import mlflow

    known = _known(run, registry)
    began = {"run_id": known} if known else {"experiment_id": registry.experiment(EXPERIMENT)}
    with registry.asked(), mlflow.start_run(**began) as opened:
        run_id = str(opened.info.run_id)
        if known is None:
            _log_run(run, run_id)
            (run.folder / _RUN_FILE).write_text(json.dumps({"store": registry.uri, "run_id": run_id}))
        mlflow.log_metrics(dict(numbers or {}))
        for name, fact in (facts or {}).items():
            mlflow.log_dict(fact, name)
    return run_id


def _known(run: TrainedRun, registry: Registry) -> str | None:
    file = run.folder / _RUN_FILE
    held = json.loads(file.read_text()) if file.exists() else {}
    return str(held["run_id"]) if held.get("store") == registry.uri else None


def _log_run(run: TrainedRun, run_id: str) -> None:
    import mlflow

    mlflow.log_params(dict(flat(run.settings)))
    mlflow.set_tags({"data": ",".join(run.identity["data"]), "base": run.identity["base"], "code": code_version()})
    mlflow.log_artifacts(str(run.adapter), "adapter")
    if (log := run.folder / "log.jsonl").exists():
        mlflow.log_artifact(str(log))
    metrics = list(_metrics(run))
    client = mlflow.MlflowClient()
    for at in range(0, len(metrics), _METRICS_AT_ONCE):
        client.log_batch(run_id, metrics=metrics[at : at + _METRICS_AT_ONCE])


def _metrics(run: TrainedRun) -> Iterator[Any]:
    """Yield what log.jsonl says: losses, gradient norms, rates, tokens per second, memory."""
    from mlflow.entities import Metric

    for line in run.lines:
        numbers = {name: value for name, value in line.items() if isinstance(value, int | float)}
        step = int(numbers.pop("update"))
        yield from (Metric(name, float(value), 0, step) for name, value in numbers.items())


def flat(values: Any, at: str = "") -> list[tuple[str, Any]]:  # noqa: ANN401  any JSON value
    """Name every leaf by its path: `phases.0.lr`."""
    if isinstance(values, dict | list):
        children = values.items() if isinstance(values, dict) else enumerate(values)
        return [leaf for key, child in children for leaf in flat(child, f"{at}.{key}".strip("."))]
    return [(at, values)]
