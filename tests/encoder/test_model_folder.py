"""What a folder says is honoured or refused; nothing is guessed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from jude.encoder import EncoderSpec, manifest_of, open_encoder, open_tokeniser
from jude.encoder.model_folder import read_model_folder
from jude.encoder.packaged import find_model
from jude.errors import TerminalEnvironmentError, TerminalSettingsError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the packaged model whose weights are the same file."""
    copy = tmp_path / "copy"
    shutil.copytree(find_model("all-minilm-l6-v2").folder, copy, copy_function=_link)
    return copy


def _link(source: str, target: str) -> None:
    if source.endswith(".safetensors"):
        Path(target).symlink_to(source)
    else:
        shutil.copyfile(source, target)


def change(file: Path, **keys: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **keys}))


def spec(folder: Path, **more: Any) -> EncoderSpec:
    return EncoderSpec("folder", path=str(folder), **more)


def test_the_facts_of_a_folder(folder: Path) -> None:
    model = read_model_folder(folder)
    assert (model.family, model.pooling, model.normalise, model.mask) == ("bert", "mean", True, "bidirectional")
    assert (model.trained_max_tokens, model.widths) == (256, (384,))


def test_a_version_is_not_named_after_its_place(folder: Path, tmp_path: Path) -> None:
    before = open_tokeniser(spec(folder)).model_version
    assert before.startswith("bert-")
    moved = folder.rename(tmp_path / "elsewhere")
    assert open_tokeniser(spec(moved)).model_version == before


@pytest.mark.parametrize(
    "change", [{"pooling": "cls"}, {"mask": "causal"}, {"normalise": False}, {"compute": "bfloat16"}], ids=str
)
def test_other_choices_are_another_version(folder: Path, change: dict[str, Any]) -> None:
    assert open_tokeniser(spec(folder)).model_version != open_tokeniser(spec(folder, **change)).model_version
    assert manifest_of(spec(folder, **change)) != manifest_of(spec(folder))


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (shutil.rmtree, "config.json is missing"),
        (lambda f: (f / "config.json").write_text("{"), "is not JSON"),
        (lambda f: (f / "tokenizer.json").unlink(), "has no tokenizer.json.*jude model import"),
        (lambda f: (f / "model.safetensors").unlink(), "model.safetensors"),
        (lambda f: change(f / "1_Pooling" / "config.json", pooling_mode_max_tokens=True), r"pooling mean.* \+ max"),
        (lambda f: change(f / "1_Pooling" / "config.json", include_prompt=False), "without the prompt"),
        (
            lambda f: (f / "modules.json").write_text('[{"type": "sentence_transformers.models.Dense", "path": "d"}]'),
            "ends in Dense, which JUDE cannot compute",
        ),
    ],
    ids=["no folder", "no json", "no tokeniser", "no weights", "two poolings", "prompt", "dense"],
)
def test_a_folder_that_cannot_be_honoured_is_refused(
    folder: Path, break_it: Callable[[Path], object], says: str
) -> None:
    break_it(folder)
    with pytest.raises(TerminalEnvironmentError, match=says):
        open_encoder(spec(folder))


def test_small_letters_are_the_tokenisers_business_or_refused(folder: Path) -> None:
    """sentence-transformers lowers texts where a folder says so; what came in capitals had another vector here."""
    change(folder / "sentence_bert_config.json", do_lower_case=True)
    assert open_tokeniser(spec(folder)).inputs("", ["Nurse"])[0].token_ids  # this tokeniser does it
    rules = json.loads((folder / "tokenizer.json").read_text())["normalizer"]
    change(folder / "tokenizer.json", normalizer={**rules, "lowercase": False})
    with pytest.raises(TerminalEnvironmentError, match="says do_lower_case, and its tokeniser does not do it"):
        read_model_folder(folder)


def test_a_bare_folder_needs_a_pooling(folder: Path) -> None:
    (folder / "modules.json").unlink()
    with pytest.raises(TerminalSettingsError, match=r"Set encoder.pooling: one of mean, last, cls, weighted_mean"):
        open_tokeniser(spec(folder))
    assert manifest_of(spec(folder, pooling="mean")).pooling == "mean"


def test_last_pooling_without_an_end_token_is_refused(folder: Path) -> None:
    change(folder / "tokenizer.json", post_processor=None)
    with pytest.raises(TerminalEnvironmentError, match="ends no text with EOS"):
        open_tokeniser(spec(folder, pooling="last"))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"path": None}, "encoder.path must name"),
        ({"mask": "both"}, "encoder.mask is 'both'. Known: bidirectional, causal"),
        ({"compute": "float16"}, "encoder.compute is 'float16'"),
        ({"width": 128}, "Set encoder.width: 384"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(folder: Path, wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(TerminalSettingsError, match=says):
        open_tokeniser(EncoderSpec(**{"kind": "folder", "path": str(folder), **wrong}))


@pytest.mark.parametrize("config", ["{}", "[]", '{"model_type": "distilbert"}'])
def test_a_config_of_another_kind_is_refused(folder: Path, config: str) -> None:
    (folder / "config.json").write_text(config)
    with pytest.raises(TerminalEnvironmentError, match=r"config\.json says no (model_type|width)"):
        open_tokeniser(spec(folder))


def test_broken_weights_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").write_bytes(b"not a model")
    with pytest.raises(TerminalEnvironmentError, match=r"is broken.*Copy it anew"):
        open_encoder(spec(folder))


def test_weights_of_another_config_are_refused(folder: Path) -> None:
    change(folder / "config.json", num_hidden_layers=7)
    with pytest.raises(TerminalEnvironmentError, match=r"has no weights encoder.layer.6.* do not belong together"):
        open_encoder(spec(folder))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(folder: Path) -> None:
    with pytest.raises(TerminalEnvironmentError, match="finds no NVIDIA GPU"):
        open_encoder(spec(folder, device="cuda"))
