"""A run becomes a challenger, a challenger a champion; each gate that is shut says its number, and nothing moves."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from jude.cli.app import app
from jude.encoder import EncoderSpec
from jude.encoder.model_folder import read_model_folder
from jude.errors import TerminalEnvironmentError, TerminalSettingsError, TerminalTrainingError
from jude.evaluation.encoding import encode_by
from jude.evaluation.parity import require_parity
from jude.evaluation.sets import EvaluationSet
from jude.release.candidates import Candidate, register_candidate
from jude.release.promoting import Promoted, promote
from jude.release.registry import ADAPTER_FOLDER, MODEL_FOLDER, Registry
from jude.release.trained import TrainedRun, merge_run, read_run
from tests.encoder.tiny import build
from tests.memory import MemoryTables
from tests.release.trained import base_folder, set_that_it_knows, tiny_run
from tests.stories import NOW

PROMPTS = {"job": "", "member": ""}


class World:
    """A registry with one challenger, and the deployment that it is meant for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.base = base_folder(folder / "base")
        self.run = tiny_run(folder / "run", self.base, seed=1)
        self.sets = [set_that_it_knows(self.run)]
        self.registry = Registry(str(folder / "models"), "tiny")
        self.deployment = EncoderSpec("folder", path=str(self.base), prompts=PROMPTS, threads=1)
        self.made = self.register(self.run)

    def register(self, run: TrainedRun) -> Candidate:
        return register_candidate(run, self.registry, self.deployment, self.sets, NOW)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("release"))


def test_a_challenger_is_the_adapter_merged_with_all_that_was_measured(world: World) -> None:
    made = world.made
    assert (made.version.number, made.version.aliases) == (1, ("challenger",))
    line = made.report.sets[0].line("ndcg_at_10")
    assert line is not None
    assert line.estimate.mean > 0.99
    assert line.gain is not None
    assert line.gain.verdict == "better"
    card = made.card.read_text()
    assert f"{line.estimate:.4f}" in card
    assert "hash d1" in card
    assert "| seed | 0 |" in card
    assert "base_model: base" in card
    assert (world.registry.folder(made.version, ADAPTER_FOLDER) / "adapter_model.safetensors").exists()


def test_mlflow_holds_settings_numbers_data_and_code(world: World) -> None:
    import mlflow

    assert world.made.version.run_id
    run = mlflow.get_run(world.made.version.run_id)
    assert run.data.params["phases.0.updates"] == "2"
    assert run.data.metrics["gradient_norm"] == 0.5
    assert run.data.metrics["tokens_per_second"] == 900.0
    assert run.data.metrics["titles.ndcg_at_10"] > 0.99
    assert run.data.metrics["gate.merge_error"] < 1e-5
    assert (run.data.tags["data"], run.data.tags["base"]) == ("d1", "b1")
    assert run.data.tags["code"].startswith("0.")


def test_the_pyfunc_serves_the_same_vectors(world: World) -> None:
    import mlflow

    texts = ["w1 w2 w3", "w9"]
    loaded = mlflow.pyfunc.load_model(world.made.version.uri)
    assert loaded.metadata.signature is not None
    ours = encode_by(replace(world.deployment, path=str(world.registry.folder(world.made.version)), prompts={}))
    np.testing.assert_allclose(np.array(loaded.predict(texts)), ours("", texts), atol=1e-6)


@pytest.fixture(scope="module")
def champion(world: World) -> tuple[Promoted, MemoryTables]:
    """The challenger promoted, and the tables that say so."""
    tables = MemoryTables()
    return promote("challenger", world.registry, world.deployment, world.sets, tables, NOW), tables


def test_a_champion_has_a_row_that_a_backfill_begins_with(champion: tuple[Promoted, MemoryTables]) -> None:
    done, tables = champion
    assert set(done.version.aliases) == {"challenger", "champion"}
    rows = [(row["model_version"], row["state"], row["alias"]) for row in tables.model_versions().to_pylist()]
    assert rows == [(done.model_version, "building", None)]
    assert done.gates[0].startswith("titles: ndcg_at_10 +0.")


@pytest.mark.usefixtures("champion")
def test_a_worse_model_is_refused_unless_there_is_a_reason(world: World) -> None:
    other = world.register(tiny_run(world.folder / "other", world.base, seed=2))
    assert other.report.against == "models:/tiny/1"
    tables = MemoryTables()
    with pytest.raises(TerminalTrainingError, match=r"release gate is shut: nDCG@10 changed by -0\.\d+"):
        promote("challenger", world.registry, world.deployment, world.sets, tables, NOW)
    held = world.registry.held_by("champion")
    assert held is not None
    assert (held.number, tables.model_versions().num_rows) == (1, 0)
    done = promote("2", world.registry, world.deployment, world.sets, tables, NOW, despite="a drill")
    assert (done.version.number, done.former and done.former.number) == (2, 1)
    assert "promoted despite it: a drill" in done.version.tags["gates"]
    assert world.registry.find("former").number == 1
    again = promote("2", world.registry, world.deployment, world.sets, tables, NOW)
    assert again.version.tags == done.version.tags  # measured against itself it passes: the reason must not go


@pytest.mark.usefixtures("champion")
def test_a_promotion_needs_a_set_of_the_trade(world: World) -> None:
    """A guard may fall by what forgetting allows: alone it would let a worse model through."""
    guard = replace(world.sets[0], name="scifact")
    with pytest.raises(TerminalTrainingError, match="measured on no set of the trade"):
        promote("1", world.registry, world.deployment, [guard], MemoryTables(), NOW)


@pytest.mark.usefixtures("champion")
def test_a_handful_of_queries_opens_no_gate(world: World) -> None:
    """Where a few all say the same, the interval of their difference has no width."""
    whole = world.sets[0].retrieval
    assert whole is not None
    some = replace(whole, queries=whole.queries[:3], relevant=whole.relevant[:3])
    few = replace(world.sets[0], retrieval=some, judged=None, slices={})
    with pytest.raises(TerminalTrainingError, match="titles has 3 queries, and an interval needs 30"):
        promote("1", world.registry, world.deployment, [few], MemoryTables(), NOW)


@pytest.mark.usefixtures("champion")
def test_a_champion_of_another_promotion_is_not_replaced_unmeasured(world: World) -> None:
    """Two promotions at once: the one that ends last was compared with a champion that is none any more."""
    other = world.register(tiny_run(world.folder / "third", world.base, seed=3)).version
    before = world.registry.held_by("champion")
    assert before is not None

    def meanwhile(_: str) -> None:
        world.registry.point("champion", other)

    tables = MemoryTables()
    with pytest.raises(TerminalTrainingError, match=f"{other.uri} became the champion meanwhile"):
        promote(str(before.number), world.registry, world.deployment, world.sets, tables, NOW, say=meanwhile)
    assert (world.registry.find("champion").number, tables.model_versions().num_rows) == (other.number, 0)
    world.registry.point("champion", before)


def test_what_the_registry_answers_is_a_sentence(world: World, tmp_path: Path) -> None:
    gone = replace(world.made.version, number=99)
    for call in (world.registry.folder, partial(world.registry.point, "champion")):
        with pytest.raises(TerminalEnvironmentError, match=r"The model registry sqlite:.* answered: .*99"):
            call(gone)
    with pytest.raises(TerminalEnvironmentError, match=r"answered: .*99"):
        world.registry.tag(gone, {"a": "b"})
    (tmp_path / "mlflow.db").write_bytes(b"no database" * 1000)
    with pytest.raises(TerminalEnvironmentError, match=r"file is not a database. Look at models.store"):
        Registry(str(tmp_path), "tiny").versions()
    assert (world.registry.folder(world.made.version) / "config.json").exists()  # MLflow has one store at a time


def test_a_deployment_may_read_less_of_a_text_than_the_model(world: World) -> None:
    released = replace(world.deployment, path=str(world.registry.folder(world.made.version)), max_tokens=8)
    collection = world.sets[0].retrieval
    assert collection is not None
    assert max(len(query.split()) for query in collection.queries) > 6
    assert require_parity(world.run.spec(), released, collection).sentence_transformers_error < 1e-5


def test_other_files_than_those_that_were_checked_are_refused(world: World) -> None:
    wider = replace(world.deployment, max_tokens=16)
    with pytest.raises(TerminalTrainingError, match="Register it again with these settings"):
        promote("1", world.registry, wider, world.sets, MemoryTables(), NOW)


def test_other_prompts_than_in_training_are_refused(world: World) -> None:
    prompted = replace(world.deployment, prompts={"job": "Job: ", "member": ""})
    with pytest.raises(TerminalSettingsError, match="other prompts than conf/entities has for job"):
        register_candidate(world.run, world.registry, prompted, world.sets, NOW)


def test_a_merge_that_is_not_the_adapter_is_refused(world: World) -> None:
    trained, released = world.run.spec(), replace(world.deployment, path=str(world.base), pooling="mean")
    collection = world.sets[0].retrieval
    assert collection is not None
    with pytest.raises(TerminalTrainingError, match="merge gate is shut: merged vectors differ by"):
        require_parity(trained, released, collection)


def test_what_is_not_there_is_named(world: World, tmp_path: Path) -> None:
    with pytest.raises(TerminalSettingsError, match=r"no version '9'\. There are: "):
        world.registry.find("9")
    with pytest.raises(TerminalSettingsError, match="is no version of tiny"):
        world.registry.find("models:/jude@champion")
    with pytest.raises(TerminalSettingsError, match="is no finished training run"):
        read_run(tmp_path)


def test_sets_of_pairs_alone_open_no_gate(world: World) -> None:
    alone: EvaluationSet = replace(world.sets[0], retrieval=None)
    with pytest.raises(TerminalTrainingError, match="need a set of queries and documents"):
        register_candidate(world.run, world.registry, world.deployment, [alone], NOW)


def test_a_release_reads_as_much_as_its_base(world: World) -> None:
    released = world.registry.folder(world.made.version)
    assert read_model_folder(released).trained_max_tokens == read_model_folder(world.base).trained_max_tokens


def test_a_decoder_that_was_trained_in_both_directions_is_released_so(tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "run", build("qwen3", tmp_path / "base"), seed=1, mask="bidirectional")
    folder = merge_run(run, "tiny") / MODEL_FOLDER
    assert read_model_folder(folder).mask == "bidirectional"
    released, trained = EncoderSpec("folder", path=str(folder), threads=1), replace(run.spec(), threads=1)
    texts = ["w1 w2 w3", "w9"]
    np.testing.assert_allclose(encode_by(released)("", texts), encode_by(trained)("", texts), atol=1e-5)
    causal = encode_by(replace(trained, mask="causal"))("", texts)
    assert np.abs(causal - encode_by(trained)("", texts)).max() > 1e-3


def test_looking_where_nothing_is_registered_leaves_nothing(tmp_path: Path) -> None:
    here = ["--set", f"models.store={tmp_path / 'models'}", "--set", "models.name=tiny"]
    listed = CliRunner().invoke(app, ["model", "list", *here])
    assert (listed.exit_code, "No version of tiny is registered" in listed.stdout) == (0, True)
    shown = CliRunner().invoke(app, ["model", "show", "champion", *here])
    assert (shown.exit_code, "There are: none yet; `jude model register RUN` adds one" in shown.stderr) == (1, True)
    promoted = CliRunner().invoke(app, ["model", "promote", *here])
    assert (promoted.exit_code, "There are: none yet" in promoted.stderr) == (1, True)
    assert not (tmp_path / "models").exists()


def test_the_commands_list_and_show(world: World) -> None:
    here = ["--set", f"models.store={world.folder / 'models'}", "--set", "models.name=tiny"]
    listed = CliRunner().invoke(app, ["model", "list", *here])
    assert world.made.model_version in listed.stdout
    shown = CliRunner().invoke(app, ["model", "show", "1", *here])
    assert "models:/tiny/1" in shown.stdout
    assert "## Checked before release" in shown.stdout
    absent = CliRunner().invoke(app, ["model", "show", "nobody", *here])
    assert (absent.exit_code, "no version 'nobody'" in absent.stderr) == (1, True)
