"""A model by name becomes settings of the encoder, or a sentence that says what a name may be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jude.cli.app import app
from jude.cli.choosing import with_model
from jude.errors import TerminalSettingsError
from tests.stories import CONF

BASE = CONF / "base.yml"


def adapter_of(folder: Path, base: str) -> Path:
    adapter = folder / "adapter"
    adapter.mkdir(parents=True)
    (adapter / "adapter_config.json").write_text("{}")
    settings = {"model": {"pooling": "last", "mask": "bidirectional"}}
    (adapter / "jude_training.json").write_text(json.dumps({"base": base, "identity": {"settings": settings}}))
    return adapter


def test_only_what_changes_is_said() -> None:
    assert with_model("all-minilm-l6-v2", BASE, []) == []
    assert with_model(None, BASE, ["encoder.width=16"]) == ["encoder.width=16"]
    assert with_model("hashing", BASE, ["encoder.width=16"]) == ["encoder.width=16", "encoder.kind=hashing"]


def test_a_folder_and_the_run_of_a_training(tmp_path: Path) -> None:
    folder = tmp_path / "a: model #1"
    folder.mkdir()
    (folder / "config.json").touch()
    assert with_model(str(folder), BASE, []) == ["encoder.kind=folder", f'encoder.path="{folder}"']
    run = tmp_path / "run"
    adapter = adapter_of(run, "/models/base")
    read = ["encoder.pooling=last", "encoder.mask=bidirectional"]
    said = ["encoder.kind=folder", "encoder.path=/models/base", f"encoder.adapter={adapter}", *read]
    assert with_model(str(run), BASE, []) == said
    assert with_model(str(adapter), BASE, []) == said


def test_settings_of_another_model_are_taken_back(tmp_path: Path) -> None:
    given = ["encoder.kind=folder", f"encoder.path={tmp_path}", "encoder.pooling=cls"]
    changed = ["encoder.kind=all-minilm-l6-v2", "encoder.path=null", "encoder.pooling=null"]
    assert with_model("all-minilm-l6-v2", BASE, given) == given + changed


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TerminalSettingsError, match="Name one of all-minilm-l6-v2"):
        with_model(str(tmp_path), BASE, [])
    adapter = adapter_of(tmp_path, "x")
    (adapter / "jude_training.json").unlink()
    with pytest.raises(TerminalSettingsError, match="does not say its base"):
        with_model(str(adapter), BASE, [])


def test_a_plan_names_what_it_assumes() -> None:
    ran = CliRunner().invoke(app, ["train", "plan", "--model", "7b", "--gpus", "8"])
    assert "mistral-7b: 7.11 B parameters, LoRA rank 16 on qkv (9.4 M trained), 8 x NVIDIA H100" in ran.stdout
    assert "ASSUMED: utilisation 40%" in ran.stdout
    endless = CliRunner().invoke(app, ["train", "plan", "--model", "7b", "--pairs", "inf"])
    assert (endless.exit_code, "--pairs inf: give a number" in endless.stderr) == (1, True)
    given = CliRunner().invoke(app, ["train", "plan", "--model", "7b", "--gpu", "abacus"])
    assert (given.exit_code, "There is no GPU 'abacus'" in given.stderr) == (1, True)
