"""The pipeline with `encoder.kind: grpc` writes what it writes with the model in its own process."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from jude.settings import load_settings
from jude.stream.micro_batch import apply_batch
from jude.stream.opening import open_pipeline
from jude.stream.planned import plan_on_driver
from jude.tables.protocol import Txn
from tests.serving.running import PROJECT, running, watched
from tests.stories import Record, delete, job, records, upsert

BATCHES: list[list[Record]] = [
    [upsert("j1", 10, job("Baker")), upsert("j2", 11, job("Cook")), upsert("j3", 12, job("Cook"))],
    [upsert("j1", 20, job("Baker", "Bakes cakes.")), delete("j3", 23), upsert("j5", 26, job("Cook"))],
]


def stored_after(folder: Path, *overrides: str) -> list[dict[str, Any]]:
    """Apply the batches; give what the vector store holds."""
    places = (f"tables.root={folder}/tables", f"online.path={folder}/o.sqlite", f"stream.checkpoint={folder}/c")
    pipeline = open_pipeline(load_settings(PROJECT / "conf/test.yml", [*places, *overrides]))
    for number, batch in enumerate(BATCHES):
        apply_batch(partial(plan_on_driver, records(batch), pipeline), pipeline, Txn("test", "s", number))
    (alias,) = pipeline.tables.model_versions()["model_version"].to_pylist()
    assert alias == pipeline.model_version
    hashes = {made.input_hash for text in TEXTS for made in pipeline.tokeniser.inputs("job", [text])}
    found = pipeline.tables.stored(pipeline.model_version, sorted(hashes)).to_pylist()
    return sorted(({k: row[k] for k in ("input_hash", "vector")} for row in found), key=lambda row: row["input_hash"])


TEXTS = (
    "Title: Baker\nOrganisation: GSA\nLocation: Remote\nBuilds things.",
    "Title: Cook\nOrganisation: GSA\nLocation: Remote\nBuilds things.",
    "Title: Baker\nOrganisation: GSA\nLocation: Remote\nBakes cakes.",
)


def test_the_stored_vectors_are_the_same_and_each_is_computed_once(tmp_path: Path) -> None:
    local = stored_after(tmp_path / "local")
    with running(opener=watched()) as up:
        up.encoder.computed.clear()
        target = f"encoder.server.target={up.address.target}"
        remote = stored_after(tmp_path / "grpc", "encoder.kind=grpc", target)
        computed = len(up.encoder.computed)

    assert remote == local
    assert len(local) == computed == 3
