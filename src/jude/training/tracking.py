"""A finished run into MLflow: settings, every logged number, and the adapter, after training and apart from it.

The run's own log.jsonl is the source: training needs no server, and a lost server loses nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jude import __version__


def track(folder: Path, store: str, measured: Mapping[str, float], experiment: str = "jude-training") -> str:
    """Write a run's files to the MLflow store (`sqlite:///...`) and give the MLflow run id.

    An experiment that is new to the store keeps its artifacts beside the run, not in the current folder.
    """
    import mlflow

    identity = json.loads((folder / "adapter" / "jude_training.json").read_text())["identity"]
    mlflow.set_tracking_uri(store)
    if mlflow.get_experiment_by_name(experiment) is None:
        mlflow.create_experiment(experiment, artifact_location=(folder / "artifacts").absolute().as_uri())
    mlflow.set_experiment(experiment)
    with mlflow.start_run() as run:
        mlflow.log_params(dict(flat(identity["settings"])))
        mlflow.set_tags({"data": ",".join(identity["data"]), "base": identity["base"], "jude": __version__})
        for line in (folder / "log.jsonl").read_text().splitlines():
            numbers = {name: value for name, value in json.loads(line).items() if isinstance(value, int | float)}
            mlflow.log_metrics(numbers, step=int(numbers.pop("update")))
        mlflow.log_metrics(dict(measured))
        mlflow.log_artifacts(str(folder / "adapter"), "adapter")
        found: str = run.info.run_id
    return found


def flat(values: Any, at: str = "") -> list[tuple[str, Any]]:  # noqa: ANN401  any JSON value
    """Name every leaf by its path: `phases.0.lr`."""
    if isinstance(values, dict | list):
        children = values.items() if isinstance(values, dict) else enumerate(values)
        return [leaf for key, child in children for leaf in flat(child, f"{at}.{key}".strip("."))]
    return [(at, values)]
