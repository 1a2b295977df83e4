"""One folder, many readers: ours, sentence-transformers and MLflow make the same vectors of the same texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from jude.cli.app import app
from jude.encoder import EncoderSpec, open_encoder, open_tokeniser
from jude.encoder.importing import export_mlflow, import_model
from jude.encoder.tokenising import eos_id
from jude.errors import TerminalSettingsError
from tests.encoder.tiny import EOS, build

TEXTS = ["w1 w2 w3", "w9", "w4 w5 w4 w5 w6 w7 w8", "never heard w2"]


def ours(folder: Path) -> NDArray[np.float32]:
    spec = EncoderSpec("folder", path=str(folder), threads=1)
    return open_encoder(spec).encode([made.token_ids for made in open_tokeniser(spec).inputs("", TEXTS)])


def bare(family: str, folder: Path) -> Path:
    """A folder of transformers alone, whose tokeniser ends no text."""
    from tokenizers import Tokenizer, processors

    build(family, folder)
    (folder / "modules.json").unlink()
    tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing(single="$A", special_tokens=[])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_an_imported_decoder_ends_its_texts_and_is_read_by_all(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    folder = tmp_path / "imported"
    made = import_model(bare("llama", tmp_path / "bare"), folder, pooling="last", max_tokens=48, widths=(16,))
    assert (made.pooling, made.mask, made.widths, made.trained_max_tokens) == ("last", "causal", (16, 32), 48)
    assert eos_id(folder / "tokenizer.json") == EOS
    theirs = SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(ours(folder), theirs, atol=1e-5)


def test_an_mlflow_model_makes_the_same_vectors_and_comes_back_the_same_version(tmp_path: Path) -> None:
    import mlflow

    folder = build("qwen3", tmp_path / "model")
    export_mlflow(folder, tmp_path / "mlflow")
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "mlflow"))
    np.testing.assert_allclose(np.array(loaded.predict(TEXTS)), ours(folder), atol=1e-6)
    import_model(tmp_path / "mlflow", tmp_path / "back")
    np.testing.assert_allclose(ours(tmp_path / "back"), ours(folder), atol=1e-6)
    there, back = (open_tokeniser(EncoderSpec("folder", path=str(place))) for place in (folder, tmp_path / "back"))
    assert back.model_version == there.model_version


def test_the_commands_say_what_they_made(tmp_path: Path) -> None:
    folder = build("bert", tmp_path / "model")
    ran = CliRunner().invoke(app, ["model", "export", str(folder), str(tmp_path / "copy")])
    assert ran.exit_code == 0
    ran = CliRunner().invoke(app, ["model", "import", str(tmp_path / "copy"), str(tmp_path / "new"), "--name", "mine"])
    assert "bert, mean pooling, bidirectional, 32 numbers, mine-" in ran.stdout
    np.testing.assert_array_equal(ours(tmp_path / "new"), ours(folder))


def test_a_source_that_is_not_there_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(TerminalSettingsError, match=r"There is no folder .*nowhere"):
        import_model(tmp_path / "nowhere", tmp_path / "new")


@pytest.mark.parametrize(("pooling", "says"), [(None, "names no pooling"), ("max", "one of mean, last, cls")])
def test_a_bare_folder_without_a_pooling_is_refused(tmp_path: Path, pooling: str | None, says: str) -> None:
    with pytest.raises(TerminalSettingsError, match=says):
        import_model(bare("gemma", tmp_path / "bare"), tmp_path / "new", pooling=pooling)


def test_a_folder_that_holds_something_is_never_written_over(tmp_path: Path) -> None:
    folder = build("bert", tmp_path / "model")
    with pytest.raises(TerminalSettingsError, match="not empty"):
        import_model(folder, folder)
