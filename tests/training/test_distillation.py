"""A cross-encoder reads both texts of a pair, scores them into a table, and a student is trained on these scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from jude.encoder.packaged import MINILM
from jude.encoder.protocol import ModelInput
from jude.encoder.tokenising import bos_id
from jude.errors import TerminalSettingsError, TerminalTrainingError
from jude.training.data import BatchMaker, tokenise
from jude.training.data.joined import joined
from jude.training.data.pairs import checked, read_pairs, read_table
from jude.training.data.scores import SCORES, text_hashes, with_scores
from jude.training.lists import candidate_lists
from jude.training.mining import Mined
from jude.training.objective import Objective, beside_labels
from jude.training.reading import load_training
from jude.training.settings import LossSettings
from jude.training.teacher import SIDES, Teacher, require_sides, teacher_version
from jude.training.trainer import Trainer
from scripts import ablations, distil
from tests.encoder.tiny import build
from tests.training.sentences import sentences
from tests.training.tiny import WIDTH, WordTokeniser, random_pairs

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def test_both_texts_are_one_input_and_the_longer_one_is_cut() -> None:
    table = random_pairs(2)
    table = table.set_column(0, "query_text", pa.array(["1 2", "1 2 3 4 5 6 7"]))
    table = table.set_column(2, "document_text", pa.array(["7 8 9", "9"]))
    data = joined(tokenise(checked(table), WordTokeniser(), tokeniser_name="words"), 8, None)
    ids = [data.token_ids(int(number)).tolist() for number in data.query]
    assert ids == [[1, 4, 5, 2, 10, 11, 12], [1, 4, 5, 6, 7, 10, 2, 12]]
    assert data.query.tolist() == data.document.tolist()


@pytest.mark.parametrize(("begins", "ids"), [(None, [4, 5, 4, 8]), (4, [4, 5, 8])])
def test_the_second_text_leaves_out_the_tokeniser_s_own_first_token_alone(begins: int | None, ids: list[int]) -> None:
    """Without one, as Qwen's, two texts may begin with the same word."""

    class Bare:
        def inputs(self, _: str, texts: list[str]) -> list[ModelInput]:
            return [ModelInput("", tuple(int(word) + 3 for word in text.split()), False) for text in texts]

    table = random_pairs(1).set_column(0, "query_text", pa.array(["1 2"]))
    table = table.set_column(2, "document_text", pa.array(["1 5"]))
    data = joined(tokenise(checked(table), Bare(), tokeniser_name="bare"), 8, begins)
    assert data.token_ids(0).tolist() == ids


def test_the_first_token_of_a_tokeniser_is_found(tmp_path: Path) -> None:
    file = build("bert", tmp_path) / "tokenizer.json"
    assert bos_id(file) == 2
    made = json.loads(file.read_text())
    file.write_text(json.dumps({**made, "post_processor": None}))
    assert bos_id(file) is None


def test_lists_hold_a_match_and_no_known_one_as_a_negative() -> None:
    data = tokenise(random_pairs(20), WordTokeniser(), tokeniser_name="words")
    queries = np.unique(data.query[data.label >= 0.5])
    mined = Mined(queries, np.tile(np.unique(data.document)[:3], (len(queries), 1)))
    lists = candidate_lists(data, mined, drawn=4).to_pandas()
    assert (lists.groupby("list").label.sum() == 1).all()
    assert (lists.groupby("list").query_text.nunique() == 1).all()
    negatives = lists[lists.label == 0]
    assert len(negatives) > 3 * len(queries)
    assert (negatives.query_group != negatives.document_group).all()


def test_a_negative_of_a_list_has_nothing_that_was_said_of_the_match() -> None:
    """More are drawn than there are: then all are taken."""
    pairs = random_pairs(6).append_column("teacher_score", pa.array(np.arange(6.0)))
    pairs = pairs.append_column("document_location", pa.array(pairs["document_text"].to_pylist()))
    data = tokenise(pairs, WordTokeniser(), tokeniser_name="words")
    lists = candidate_lists(data, Mined(np.empty(0, np.int64), np.empty((0, 1), np.int64)), drawn=50)
    assert "teacher_score" not in lists.column_names
    assert lists["document_location"].to_pylist() == lists["document_text"].to_pylist()
    assert lists.num_rows > 6


@pytest.mark.parametrize("matched", [True, False])
def test_a_list_without_a_match_has_no_margin(matched: bool) -> None:
    pairs = random_pairs(6).drop_columns(["label", "query_text"])
    labels, scores = pa.array([float(matched), 0, 0, 0, 0, 0], pa.float32()), pa.array(np.arange(6.0))
    for name, column in {"label": labels, "query_text": pa.array(["1 2"] * 6), "teacher_score": scores}.items():
        pairs = pairs.append_column(name, column)
    data = tokenise(checked(pairs), WordTokeniser(), tokeniser_name="words")
    batch = BatchMaker(data).batch(np.arange(6))
    objective = Objective(LossSettings(nce=0, margin=1), data, WIDTH)
    found = objective(torch.randn(len(batch.inputs), WIDTH), batch)["margin"].item()
    assert (found > 0) == matched


def test_a_score_that_is_no_number_is_refused() -> None:
    pairs = random_pairs(4).append_column("teacher_score", pa.array([1.0, None, 2.0, float("nan")]))
    with pytest.raises(TerminalTrainingError, match="2 of 4 pairs have a teacher_score that is no number"):
        beside_labels(pairs, LossSettings(nce=0, kd=1))


def stored(tmp_path: Path, versions: tuple[str, ...], count: int = 8) -> Path:
    pairs = checked(sentences()).slice(0, count)
    hashes = [text_hashes(pairs[f"{side}_text"]) for side in ("query", "document")]
    tables = [
        pa.Table.from_arrays([pa.array([name] * count), *hashes, pa.array(np.arange(count, dtype="f4"))], schema=SCORES)
        for name in versions
    ]
    pq.write_table(pa.concat_tables(tables), tmp_path / "scores.parquet")
    return tmp_path / "scores.parquet"


def test_scores_stand_beside_their_pairs(tmp_path: Path) -> None:
    pairs = checked(sentences()).take([3, 1])
    path = stored(tmp_path, ("a", "b"))
    assert with_scores(pairs, path, "b")["teacher_score"].to_pylist() == [3.0, 1.0]
    with pytest.raises(TerminalTrainingError, match=r"holds scores of a, b; phases\.teacher is None"):
        with_scores(pairs, path)
    with pytest.raises(TerminalTrainingError, match="1 of 2 pairs have no score"):
        with_scores(pairs, stored(tmp_path, ("a",), count=3))


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    pairs = sentences()
    wrong = pairs.set_column(2, "document_text", pa.array(np.roll(pairs["document_text"].to_pylist(), 1)))
    wrong = wrong.set_column(4, "label", pa.array([0.0] * 8, pa.float32()))
    lists = pa.concat_tables([pairs, wrong]).append_column("list", pa.array([*range(8)] * 2))
    pq.write_table(lists, tmp_path / "lists.parquet")
    file = tmp_path / "conf" / "training" / "teacher.yml"
    file.parent.mkdir(parents=True)
    settings: dict[str, Any] = {
        "model": {"base": MINILM, "max_tokens": 24, "kind": "cross_encoder"},
        "lora": {"rank": 4, "roles": "all"},
        "batch": {"pairs": 16},
        "phases": [{"name": "relevance", "pairs": "lists.parquet", "updates": 16, "lr": 0.002,
                    "loss": {"bce": 1.0, "nce": 0.0, "head": "joint"}}],
    }  # fmt: skip
    file.write_text(yaml.safe_dump(settings))
    return file


def test_lists_of_a_killed_script_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(_table: pa.Table, file: Path) -> None:
        Path(file).write_bytes(b"PAR1")
        raise KeyboardInterrupt

    table = pa.table({"label": [1.0]})
    for script in (distil, ablations):
        monkeypatch.setattr(script, "FOLDER", tmp_path)
        monkeypatch.setattr(script, "title_lists", lambda *_: table)
    monkeypatch.setattr(distil, "unlabelled_lists", lambda _: table)
    monkeypatch.setattr(ablations, "mislabelled", lambda *_: table)
    monkeypatch.setattr(pq, "write_table", killed)
    for make in (distil.make_lists, ablations.make_data):
        with pytest.raises(KeyboardInterrupt):
            make()
    assert not [*tmp_path.glob("[!.]*.parquet")]


def trained_anew(adapter: Path) -> None:
    """Another teacher in the same folder."""
    heads = torch.load(adapter / "heads.pt", weights_only=True)
    torch.save({name: 2 * weights for name, weights in heads.items()}, adapter / "heads.pt")


@pytest.mark.spark
def test_from_labels_to_a_student(conf: Path, tmp_path: Path, spark: SparkSession) -> None:
    trained = Trainer(load_training(conf), tmp_path / "teacher").run()
    lists, adapter, scores = tmp_path / "lists.parquet", trained.adapter, tmp_path / "scores"
    teacher = Teacher(adapter)
    logits = teacher.score(read_pairs(lists))
    assert logits[:8].min() > logits[8:].max()  # it has learnt its sixteen pairs
    from jobs.score_pairs import main

    arguments = ["--pairs", str(lists), "--teacher", str(adapter), "--scores", str(scores)]
    assert main(arguments) == 0
    assert main(arguments) == 0  # nothing is missing any more
    held = with_scores(read_pairs(lists), scores, teacher_version(adapter))
    assert len(read_table(scores)) == 16
    np.testing.assert_allclose(held["teacher_score"].to_numpy(), logits, atol=1e-4)
    trained_anew(adapter)
    assert main(arguments) == 0  # by a worker that holds the teacher before
    held = with_scores(read_pairs(lists), scores, teacher_version(adapter))
    np.testing.assert_allclose(held["teacher_score"].to_numpy(), Teacher(adapter).score(read_pairs(lists)), atol=1e-4)
    student = [
        f"phases.0.teacher={teacher_version(adapter)}",
        "model.kind=two_towers",
        "phases.0.loss.head=cosine",
        "phases.0.loss.bce=0",
        "phases.0.loss.kd=1",
    ]
    settings = load_training(conf, [*student, "phases.0.loss.margin=1", f"phases.0.scores={scores}"])
    assert Trainer(settings, tmp_path / "student").run().updates == 16
    first, *_, last = (tmp_path / "student" / "log.jsonl").read_text().splitlines()
    assert yaml.safe_load(last)["loss_kd"] < yaml.safe_load(first)["loss_kd"]


@pytest.mark.spark
def test_pairs_without_a_text_are_refused(tmp_path: Path, spark: SparkSession) -> None:
    pairs = checked(sentences())
    holes = pairs.set_column(0, "query_text", pa.array([None, *pairs["query_text"].to_pylist()[1:]]))
    with pytest.raises(TerminalTrainingError, match=r"mine: 1 rows have no query_text. Mend or drop them"):
        require_sides(spark.createDataFrame(holes.select(SIDES)), "mine")
    with pytest.raises(TerminalTrainingError, match="mine: the columns document_type are missing"):
        require_sides(spark.createDataFrame(pairs.select(SIDES[:3])), "mine")
    from jobs.score_pairs import _read

    with pytest.raises(TerminalTrainingError, match="nowhere cannot be read as pairs: "):
        _read(spark, str(tmp_path / "nowhere"))


def test_what_a_cross_encoder_cannot_do_is_refused(conf: Path, tmp_path: Path) -> None:
    with pytest.raises(TerminalSettingsError, match="belong together"):
        load_training(conf, ["phases.0.loss.head=cosine"])
    with pytest.raises(TerminalSettingsError, match="no vectors to compare"):
        load_training(conf, ["phases.0.loss.nce=1"])
    with pytest.raises(TerminalSettingsError, match="no watch"):
        load_training(conf, ["run.watch=lists.parquet"])
    with pytest.raises(TerminalTrainingError, match="is no adapter of a training run"):
        Teacher(tmp_path)


def test_a_student_is_no_teacher_and_the_job_says_so_before_it_starts_spark(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    about = {"identity": {"settings": {"model": {"kind": "two_towers"}}, "base": "0"}}
    (tmp_path / "jude_training.json").write_text(json.dumps(about))
    for name in ("adapter_model.safetensors", "heads.pt"):
        (tmp_path / name).write_bytes(b"")
    from jobs import score_pairs

    monkeypatch.setattr(score_pairs, "build_spark", pytest.fail)
    assert score_pairs.main(["--pairs", "pairs", "--teacher", str(tmp_path), "--scores", "scores"]) == 1
    assert "is no cross-encoder" in capsys.readouterr().err
