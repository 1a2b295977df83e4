"""Bring a model into the one folder layout that JUDE, sentence-transformers and transformers all read, and back.

Imports transformers; MLflow only for its own layout. Nothing is downloaded.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tokenizers import Tokenizer, processors

from jude.encoder.made_of import MASKS
from jude.encoder.model_folder import DECODERS, FACTS_FILE, POOLINGS, ModelFolder, facts_of, read_model_folder
from jude.encoder.tokenising import eos_id
from jude.errors import TerminalEnvironmentError, TerminalSettingsError

_SAID: Final = {"mean": "mean_tokens", "last": "lasttoken", "cls": "cls_token", "weighted_mean": "weightedmean_tokens"}
_MODULES: Final = (("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize"))
_EMBEDDING_FILES: Final = "model"  # the folder inside an MLflow model


def import_model(
    source: Path,
    target: Path,
    *,
    pooling: str | None = None,
    mask: str | None = None,
    max_tokens: int | None = None,
    widths: tuple[int, ...] = (),
    name: str | None = None,
    gguf_file: str | None = None,
    adapter: Path | None = None,
) -> ModelFolder:
    """Write `target` from a folder of transformers, sentence-transformers or MLflow, or from a GGUF file in it.

    A LoRA adapter is merged in float32. Last pooling makes the tokeniser end every text with EOS. Mask and widths that
    `source` says of itself stay, unless an adapter makes another model of it.
    Raises TerminalSettingsError, TerminalEnvironmentError.
    """
    if not source.is_dir():
        raise TerminalSettingsError(f"There is no folder {source}. Name the one that holds the model.")
    source = _inside_mlflow(source)
    _require_known(source, mask)
    pooling = _known_pooling(source, pooling or (None if gguf_file else _pooling_of(source)))
    if target.exists() and any(target.iterdir()):
        raise TerminalSettingsError(f"{target} is not empty. Give a new folder: a model version never changes.")
    said = {} if adapter or gguf_file else facts_of(source)
    facts = {"name": name, "mask": mask or said.get("mask"), "widths": sorted(widths) or said.get("widths")}
    with _whole(target) as made:
        _write_model(source, made, gguf_file, adapter)
        _write_layout(made, pooling, max_tokens or _max_tokens_of(source))
        _write(made / FACTS_FILE, {key: value for key, value in facts.items() if value})
        if pooling == "last":
            end_with_eos(made)
    return read_model_folder(target)


def _known_pooling(source: Path, pooling: str | None) -> str:
    if pooling not in POOLINGS:
        found = f"There is no pooling {pooling!r}" if pooling else f"{source} names no pooling"
        raise TerminalSettingsError(f"{found}. Give --pooling: one of {', '.join(POOLINGS)}.")
    return pooling


def _require_known(source: Path, mask: str | None) -> None:
    if not source.is_dir():
        raise TerminalSettingsError(f"There is no folder {source}.")
    if mask is not None and mask not in MASKS:
        raise TerminalSettingsError(f"There is no mask {mask!r}. Give --mask: {' or '.join(MASKS)}.")


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """Give a folder that takes the place of `target` once it is whole; of one that fails nothing is left."""
    target = target.absolute()
    made = target.with_name(f".{target.name}.partial")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    try:
        yield made
        made.replace(target)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def export_mlflow(folder: Path, target: Path) -> None:
    """Write an MLflow pyfunc: a column of texts in, a list of float32 vectors out, made by JUDE's own encoder.

    Raises TerminalSettingsError where there is something, or for a folder that names no pooling.
    """
    import mlflow.pyfunc

    _require_exportable(folder, target)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        mlflow.pyfunc.save_model(path=str(target), **_pyfunc(folder))


def log_mlflow(folder: Path, adapter: Path, run_id: str, registered: str) -> int:
    """Log the same pyfunc with its adapter to an MLflow run, register it, and give its number.

    Tracking and registry are those that MLflow is set to.
    """
    import mlflow

    with mlflow.start_run(run_id=run_id), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about type hints and examples: the signature is given
        made = mlflow.pyfunc.log_model(name="model", registered_model_name=registered, **_pyfunc(folder, adapter))
    return int(made.registered_model_version)


def _pyfunc(folder: Path, adapter: Path | None = None) -> dict[str, Any]:
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    from jude.encoder import mlflow_model

    vectors = TensorSpec(np.dtype(np.float32), (-1, read_model_folder(folder).width))
    more = {"adapter": str(adapter)} if adapter is not None else {}
    return {
        "python_model": str(Path(mlflow_model.__file__)),
        "artifacts": {_EMBEDDING_FILES: str(folder), **more},
        "signature": ModelSignature(inputs=Schema([ColSpec("string")]), outputs=Schema([vectors])),
        "pip_requirements": ["jude[torch]"],
    }


def export_folder(folder: Path, target: Path) -> None:
    """Copy a folder; it is one of sentence-transformers already.

    Raises TerminalSettingsError where there is something, for a folder that names no pooling, and for a decoder that
    sentence-transformers would read as causal though it reads in both directions.
    """
    _require_exportable(folder, target)
    model = read_model_folder(folder)
    if model.family in DECODERS and model.mask != "causal" and not model.config.get("use_bidirectional_attention"):
        raise TerminalSettingsError(
            f"{folder} is a decoder that reads in both directions, which sentence-transformers does not know: it would "
            f"make other vectors. Export it as a pyfunc: jude model export {folder} TARGET --to mlflow"
        )
    shutil.copytree(folder, target)


def _require_exportable(folder: Path, target: Path) -> None:
    if read_model_folder(folder).pooling is None:
        raise TerminalSettingsError(
            f"{folder} names no pooling, so every reader would guess one. Make a folder that does: "
            f"jude model import {folder} TARGET --pooling mean (or {', '.join(POOLINGS[1:])})"
        )
    if target.exists():
        raise TerminalSettingsError(f"{target} is there already. Give a new folder: a model version never changes.")


def end_with_eos(folder: Path) -> None:
    """Make tokenizer.json end every text with the EOS of the config, for every program that reads the folder."""
    file = folder / "tokenizer.json"
    if eos_id(file) is not None:
        return
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_padding()  # or the empty text below would be padding, and every text begin with it
    config = json.loads((folder / "config.json").read_bytes())
    found = config.get("eos_token_id")
    number = found[0] if isinstance(found, list) else found
    word = tokenizer.id_to_token(number) if number is not None else None
    if word is None:
        raise TerminalEnvironmentError(
            "config.json names no eos_token_id that the tokeniser knows, and last pooling reads it. Write it there, or "
            "give another --pooling."
        )
    before = tokenizer.encode("").tokens
    single = " ".join([*before, "$A", word])
    specials = [(token, tokenizer.token_to_id(token)) for token in dict.fromkeys([*before, word])]
    template = processors.TemplateProcessing(single=single, special_tokens=specials)
    byte_level = processors.ByteLevel(trim_offsets=False) if "ByteLevel" in file.read_text() else None
    tokenizer.post_processor = processors.Sequence([byte_level, template]) if byte_level else template
    tokenizer.save(str(file))


def _write_model(source: Path, target: Path, gguf_file: str | None, adapter: Path | None) -> None:
    from transformers import AutoTokenizer

    from jude.encoder.transformer import open_model

    model: Any = open_model(source, adapter=adapter, gguf_file=gguf_file)
    if gguf_file:
        # The weights are float32 by now; transformers would still refuse to save what was quantised once.
        model.hf_quantizer = None
        vars(model.config).pop("quantization_config", None)
    model.save_pretrained(target)
    more = {"gguf_file": gguf_file} if gguf_file else {}
    tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True, **more)
    tokenizer.save_pretrained(target)
    if (source / "tokenizer.json").exists() and gguf_file is None:
        # Byte for byte: another serialisation would be another model version.
        shutil.copyfile(source / "tokenizer.json", target / "tokenizer.json")


def _write_layout(target: Path, pooling: str, max_tokens: int | None) -> None:
    modules = [
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for n, (kind, path) in enumerate(_MODULES)
    ]
    width = read_model_folder(target).width
    _write(target / "modules.json", modules)
    (target / "1_Pooling").mkdir()
    pooled = {"word_embedding_dimension": width, **{f"pooling_mode_{k}": p == pooling for p, k in _SAID.items()}}
    _write(target / "1_Pooling" / "config.json", pooled)
    if max_tokens is not None:
        _write(target / "sentence_bert_config.json", {"max_seq_length": max_tokens})


def _pooling_of(source: Path) -> str | None:
    return read_model_folder(source).pooling if (source / "modules.json").exists() else None


def _max_tokens_of(source: Path) -> int | None:
    """A folder of sentence-transformers may read less than its positions allow."""
    return read_model_folder(source).trained_max_tokens if (source / "modules.json").exists() else None


def _inside_mlflow(source: Path) -> Path:
    inside = source / "artifacts"
    folders = [path for path in inside.iterdir() if (path / "config.json").exists()] if inside.is_dir() else []
    return folders[0] if (source / "MLmodel").exists() and folders else source


def _write(path: Path, content: Mapping[str, Any] | list[dict[str, Any]]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n")
