"""Two phases: the second goes on from the first's weights, watches what must not be forgotten, and resumes exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from safetensors.torch import load_file

from jude.encoder.packaged import MINILM
from jude.errors import TerminalTrainingError
from jude.training.reading import load_training
from jude.training.settings import TrainingSettings
from jude.training.trainer import Finished, Trainer
from jude.training.watching import watcher
from tests.training.sentences import sentences


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """Relevance: each person beside the job; engagement: clicks that say the opposite."""
    pq.write_table(sentences(), tmp_path / "relevance.parquet")
    turned = sentences()
    turned = turned.set_column(2, "document_text", pa.array(turned["document_text"].to_pylist()[::-1]))
    pq.write_table(turned, tmp_path / "engagement.parquet")
    file = tmp_path / "conf" / "training" / "run.yml"
    file.parent.mkdir(parents=True)
    phase = {"updates": 3, "lr": 0.01}
    settings: dict[str, Any] = {
        "model": {"base": MINILM, "max_tokens": 16},
        "lora": {"rank": 2, "dropout": 0.1},
        "batch": {"pairs": 8},
        "run": {"log_every": 1, "save_every": 3, "watch": "relevance.parquet", "watch_every": 1, "forgetting": 1.0},
        "phases": [{"name": name, "pairs": f"{name}.parquet", **phase} for name in ("relevance", "engagement")],
    }
    file.write_text(yaml.safe_dump(settings))
    return file


def run(settings: TrainingSettings, folder: Path, stop_after: int | None = None) -> Finished:
    return Trainer(settings, folder).run(watcher(settings), stop_after)


def weights(finished: Finished) -> torch.Tensor:
    held = load_file(finished.adapter / "adapter_model.safetensors")
    return torch.cat([held[name].flatten() for name in sorted(held)])


def test_a_run_that_stopped_between_its_phases_is_the_run_that_did_not(conf: Path, tmp_path: Path) -> None:
    settings = load_training(conf)
    whole = run(settings, tmp_path / "whole")
    first = weights(run(settings, tmp_path / "parts", stop_after=3))
    parts = run(settings, tmp_path / "parts")
    assert torch.equal(weights(whole), weights(parts))
    assert not torch.equal(first, weights(parts))
    again = run(settings, tmp_path / "parts")  # nothing left to do
    assert again.updates == 6
    assert torch.equal(weights(again), weights(parts))


def test_a_phase_that_forgets_is_stopped_before_it_is_saved(conf: Path, tmp_path: Path) -> None:
    settings = load_training(conf, ["run.forgetting=0.01", "phases.1.lr=0.1", "phases.1.updates=30"])
    with pytest.raises(TerminalTrainingError, match=r"watched set fell from nDCG@10 1\.0"):
        run(settings, tmp_path / "run")
    newest = sorted((tmp_path / "run" / "checkpoints").glob("step-*"))
    assert newest[0].name == "step-00000003"
    log = (tmp_path / "run" / "log.jsonl").read_text()
    assert "watched_ndcg_at_10" in log


def test_what_a_phase_forgets_in_its_last_updates_is_found(conf: Path, tmp_path: Path) -> None:
    """Its length is no multiple of watch_every, which would have let the adapter be written unseen."""
    settings = load_training(
        conf, ["run.forgetting=0.01", "run.watch_every=100", "phases.1.lr=0.1", "phases.1.updates=30"]
    )
    with pytest.raises(TerminalTrainingError, match=r"watched set fell from nDCG@10 1\.0"):
        run(settings, tmp_path / "run")
    assert not (tmp_path / "run" / "adapter").exists()


def test_a_watched_set_without_a_match_is_refused(conf: Path, tmp_path: Path) -> None:
    pairs = sentences()
    pq.write_table(pairs.set_column(4, "label", pa.array([0.0] * 8, pa.float32())), tmp_path / "watched.parquet")
    with pytest.raises(TerminalTrainingError, match=r"watched\.parquet holds no positive"):
        watcher(load_training(conf, ["run.watch=watched.parquet"]))


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("phases.1.loss.vp={predicates: [judge_grade]}", "needs the column judge_grade"),
        ("phases.1.loss={vp_weight: 1, vp: {predicates: [color]}}", "no predicate 'color'"),
        ("phases.1.loss.kd=1", "has no column list"),
        ("batch.pairs=9", "There are 8 pairs, and one batch takes 9"),
    ],
)
def test_what_the_second_phase_lacks_is_told_before_the_first(
    conf: Path, tmp_path: Path, override: str, sentence: str
) -> None:
    pairs = sentences()
    pairs = pairs.set_column(4, "label", pa.array([1.0, 0.0] * 4, pa.float32()))
    pq.write_table(pairs, tmp_path / "engagement.parquet")
    with pytest.raises(TerminalTrainingError, match=sentence):
        Trainer(load_training(conf, ["phases.1.loss.vp_weight=1", override]), tmp_path / "run")


@pytest.mark.parametrize("what", ["data", "watched", "ranks"])
def test_a_checkpoint_of_another_run_is_refused_with_the_difference(conf: Path, tmp_path: Path, what: str) -> None:
    pq.write_table(sentences(), tmp_path / "watched.parquet")
    settings = load_training(conf, ["run.watch=watched.parquet"])
    run(settings, tmp_path / "run", stop_after=3)
    if what == "watched":
        pq.write_table(sentences().slice(0, 4), tmp_path / "watched.parquet")
    if what == "data":
        pq.write_table(sentences().slice(0, 8).take([1, 0, 2, 3, 4, 5, 6, 7]), tmp_path / "engagement.parquet")
    other = Trainer(settings, tmp_path / "run", "plain")
    if what == "ranks":
        other._run.checkpoints._identity["ranks"] = 4
    difference = {
        "data": r"data\.1: it was '\w+', it is '\w+'",
        "watched": r"watched: it was '\w+', it is '\w+'",
        "ranks": "ranks: it was 1, it is 4",
    }[what]
    with pytest.raises(TerminalTrainingError, match=difference):
        other.run()
