"""A real run of the packaged MiniLM on eight sentences: stopped and resumed, it is the run that was not stopped."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from pyspark.errors import PySparkException
from pyspark.ml.torch.distributor import TorchDistributor
from safetensors.torch import load_file

from jude.encoder import EncoderSpec, open_encoder, open_tokeniser
from jude.encoder.importing import import_model
from jude.encoder.packaged import MINILM, find_model
from jude.errors import TerminalSettingsError, TerminalTrainingError, TransientTrainingError
from jude.training.inference import encode_ids
from jude.training.launch import locked_run, train_distributed, train_rank
from jude.training.reading import load_training
from jude.training.run_log import RunLog
from jude.training.trainer import Trainer
from tests.encoder.tiny import build
from tests.training.sentences import WORDS, sentences

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    pq.write_table(sentences(), tmp_path / "pairs.parquet")
    file = tmp_path / "conf" / "training" / "run.yml"
    file.parent.mkdir(parents=True)
    settings: dict[str, Any] = {
        "model": {"base": MINILM, "max_tokens": 16},
        "lora": {"rank": 2, "dropout": 0.1},
        "batch": {"pairs": 4, "chunk_tokens": 24, "hard_negatives": 1, "mine_every": 3},
        "run": {"log_every": 1, "save_every": 2},
        "phases": [{"name": "relevance", "pairs": "pairs.parquet", "updates": 6, "lr": 0.01}],
    }
    file.write_text(yaml.safe_dump(settings))
    return file


def lines(folder: Path) -> list[dict[str, Any]]:
    timed = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("tokens_per_second", "memory_mib")} for line in timed]


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("run.seed=[", "--set run.seed: the value is not YAML"),
        ("phases=5", "phases: input should be a valid"),
        ("run.sed=1", "there is no key run.sed. Did you mean seed?"),
    ],
)
@pytest.mark.parametrize("ranks", ["0", "2"])
def test_wrong_settings_are_told_before_anything_starts(
    conf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], override: str, says: str, ranks: str
) -> None:
    from jobs.train import main

    assert main(["--conf", str(conf), "--folder", str(tmp_path / "run"), "--ranks", ranks, "--set", override]) == 1
    assert says in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_that_cannot_be_started_is_a_sentence(
    conf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from jobs.train import main

    (tmp_path / "file").touch()
    assert main(["--conf", str(conf), "--folder", str(tmp_path / "file" / "run"), "--ranks", "0"]) == 1
    said = capsys.readouterr().err
    assert re.search(r"file/run of the run cannot be written \(Not a directory\)\. Name another --folder", said)
    assert said.count("\n") == 1
    with pytest.raises(SystemExit):
        main(["--conf", str(conf), "--folder", str(tmp_path / "run"), "--ranks", "-1"])
    assert "-1 is no number of processes" in capsys.readouterr().err


def test_a_folder_has_one_run_at_a_time(conf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from jobs.train import main

    with locked_run(tmp_path / "run"):
        assert main(["--conf", str(conf), "--folder", str(tmp_path / "run"), "--ranks", "0"]) == 1
    assert re.search(r"Process \d+ already trains in .*run\. Wait for it", capsys.readouterr().err)


def test_a_decoder_is_trained_in_the_directions_that_its_folder_says(conf: Path, tmp_path: Path) -> None:
    import_model(build("qwen3", tmp_path / "causal", pooling="mean"), tmp_path / "both", mask="bidirectional")
    for base in ("causal", "both"):
        settings = load_training(conf, [f"model.base={tmp_path / base}"])
        trainer = Trainer(settings, tmp_path / "runs" / base)
        served = open_encoder(EncoderSpec("folder", path=str(tmp_path / base), normalise=False))
        ids = [np.asarray([5, 6, 7, 8], np.int32), np.asarray([9, 5], np.int32)]
        with torch.no_grad():
            made = trainer.towers(ids).numpy()
        np.testing.assert_allclose(made, served.encode([one.tolist() for one in ids]), rtol=1e-4, atol=1e-5)


def test_settings_may_lie_near_the_root(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jude.training.reading.read_yaml", lambda _: yaml.safe_load(conf.read_text()))
    assert load_training(Path("/run.yml")).phases[0].pairs == "/pairs.parquet"


def test_resumed_is_uninterrupted_bit_for_bit(conf: Path, tmp_path: Path) -> None:
    settings = load_training(conf)
    whole = Trainer(settings, tmp_path / "whole").run()
    Trainer(settings, tmp_path / "parts").run(stop_after=5)  # the newest checkpoint is that of 4
    trainer = Trainer(settings, tmp_path / "parts")
    parts = trainer.run()
    assert lines(whole.folder) == lines(parts.folder)
    assert parts.last_loss == whole.last_loss
    assert Trainer(settings, tmp_path / "whole").run() == whole, "a run that has ended tells the same again"
    assert [line["update"] for line in lines(parts.folder)] == [0, 1, 2, 3, 4, 5]
    a, b = (load_file(run.adapter / "adapter_model.safetensors") for run in (whole, parts))
    assert all(torch.equal(a[name], b[name]) for name in a)
    held = serves_the_same_vectors(trainer, parts.adapter)
    assert held > 0.99999
    with pytest.raises(TerminalTrainingError, match=r"settings.lora.rank: it was 2, it is 4"):
        Trainer(load_training(conf, ["lora.rank=4"]), tmp_path / "parts").run()


def serves_the_same_vectors(trainer: Trainer, adapter: Path) -> float:
    """The encoder of the pipeline loads the adapter by its spec; give the least cosine to the model that trained."""
    spec = EncoderSpec(kind="folder", path=str(find_model(MINILM).folder), adapter=str(adapter), max_tokens=16)
    ids = [model_input.token_ids for model_input in open_tokeniser(spec).inputs("job", [f"a {w}" for w in WORDS])]
    trained = encode_ids(trainer.towers, [np.asarray(row, np.int32) for row in ids])
    return float((open_encoder(spec).encode(ids) * trained).sum(axis=1).min())


def test_a_full_disk_keeps_the_older_checkpoint(conf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_training(conf, ["run.log_every=100"])
    Trainer(settings, tmp_path / "run").run(stop_after=2)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    for place, call in ((torch, "save"), (Path, "mkdir"), (Path, "rename")):
        trainer = Trainer(settings, tmp_path / "run")
        with monkeypatch.context() as patch:
            patch.setattr(place, call, full)
            with pytest.raises(TransientTrainingError, match="make room"):
                trainer.run()
    assert [folder.name for folder in (tmp_path / "run" / "checkpoints").glob("step-*")] == ["step-00000002"]
    assert Trainer(settings, tmp_path / "run").run().updates == 6
    monkeypatch.setattr(torch, "save", full)  # the adapter, now that the run has ended
    with pytest.raises(TransientTrainingError, match=r"adapter could not be written.*make room"):
        Trainer(settings, tmp_path / "run").run()


def test_a_line_of_the_log_that_a_full_disk_cut_short_is_dropped(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    file.write_text('{"update": 0}\n{"update": 1}\n{"upda')
    RunLog(file, writes=True).forget_after(1)
    assert file.read_text() == '{"update": 0}\n'


def test_the_norm_of_a_skipped_update_is_null(tmp_path: Path) -> None:
    RunLog(tmp_path / "log.jsonl", writes=True).add({"update": 0, "loss": 1.5, "gradient_norm": float("nan")})
    assert (tmp_path / "log.jsonl").read_text() == '{"update": 0, "loss": 1.5, "gradient_norm": null}\n'


def test_a_full_disk_leaves_the_log_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "log.jsonl"
    file.write_text('{"update": 0}\n{"update": 1}\n')

    def full(path: Path, *_: object) -> None:
        path.open("w").close()
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(TransientTrainingError, match="make room"):
            RunLog(file, writes=True).forget_after(1)
    assert file.read_text() == '{"update": 0}\n{"update": 1}\n'


def test_an_adapter_is_written_as_strong_as_was_asked(conf: Path, tmp_path: Path) -> None:
    overrides = ["phases.0.updates=2", "lora.strength=0.5"]
    trainer = Trainer(load_training(conf, overrides), tmp_path / "run")
    finished = trainer.run()
    with torch.no_grad():
        for name, parameter in trainer.towers.named_parameters():
            if "lora_B" in name:
                parameter.mul_(0.5)
    assert serves_the_same_vectors(trainer, finished.adapter) > 0.99999


def test_updates_that_are_never_finite_stop_the_run(conf: Path, tmp_path: Path) -> None:
    trainer = Trainer(load_training(conf, ["run.most_skipped=3"]), tmp_path / "run")
    with torch.no_grad():
        next(p for p in trainer.towers.parameters() if p.requires_grad).fill_(float("nan"))
    with pytest.raises(TerminalTrainingError, match="3 updates in a row"):
        trainer.run()


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("run.save_evry=3", "Did you mean save_every"),
        ("phases.0.warmup=6", "must be below updates"),
        ("batch.pairs=1", "batch.pairs"),
        ("phases.0.loss.nce=0", "every weight is 0"),
        ("phases.0.loss.vp.tau=1.5", "less than or equal to 1"),
        ("phases.0.loss={vp_weight: 1, vp: {predicates: []}}", "must name at least one"),
        ("phases.3.lr=1", "no such place"),
        ("model.base=[", "--set model.base: the value is not YAML"),
        ("phases=5", "phases"),
    ],
)
def test_wrong_settings_are_named(conf: Path, override: str, sentence: str) -> None:
    with pytest.raises(TerminalSettingsError, match=sentence):
        load_training(conf, [override])


def test_a_settings_file_may_lie_in_any_folder(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jude.training.reading.read_yaml", lambda _: yaml.safe_load(conf.read_text()))
    assert load_training(Path("/run.yml")).phases[0].pairs == "/pairs.parquet"


def test_what_cannot_be_trained_is_told_before_the_first_update(conf: Path, tmp_path: Path) -> None:
    with pytest.raises(TerminalTrainingError, match="holds the label 1 only"):
        Trainer(load_training(conf, ["phases.0.loss.bce=1"]), tmp_path / "run")
    with pytest.raises(TerminalTrainingError, match="reads 512 at most"):
        Trainer(load_training(conf, ["model.max_tokens=1000"]), tmp_path / "run")
    unmatched = sentences().set_column(4, "label", pa.array([0.0] * 8, pa.float32()))
    pq.write_table(unmatched, tmp_path / "pairs.parquet")
    for loss in ("{nce: 1}", "{nce: 0, margin: 1}"):
        with pytest.raises(TerminalTrainingError, match="holds no positive"):
            Trainer(load_training(conf, [f"phases.0.loss={loss}"]), tmp_path / "run")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_absent_is_refused(conf: Path, tmp_path: Path) -> None:
    with pytest.raises(TerminalTrainingError, match="this machine has none"):
        Trainer(load_training(conf, ["model.device=cuda"]), tmp_path / "run")


def test_one_process_keeps_the_threads_it_was_given(conf: Path, tmp_path: Path) -> None:
    train_rank(str(conf), ["phases.0.updates=1"], str(tmp_path / "run"), "plain")
    assert torch.get_num_threads() == 1


@pytest.mark.spark
@pytest.mark.usefixtures("spark")
def test_what_a_rank_cannot_train_on_is_not_called_a_lost_rank(conf: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs.parquet").unlink()
    with pytest.raises(TerminalTrainingError, match="There are no pairs at"):
        train_distributed(conf, [], tmp_path / "run", ranks=1)


@pytest.mark.spark
@pytest.mark.usefixtures("spark")
def test_a_task_that_a_cluster_lost_is_a_lost_rank(conf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: object) -> None:
        raise PySparkException("a barrier task failed")

    monkeypatch.setattr(TorchDistributor, "run", lost)
    with pytest.raises(TransientTrainingError, match="the same command goes on"):
        train_distributed(conf, [], tmp_path / "run", ranks=1, local=False)


def test_a_port_that_another_program_has_is_named(conf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for name, value in {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": "0", "WORLD_SIZE": "1"}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(TransientTrainingError, match=f"could not meet at 127.0.0.1:{port}"):
            train_rank(str(conf), [], str(tmp_path / "run"), "zero")
