"""Open a base model: the packaged MiniLM or a Hugging Face folder, never a download."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from jude.encoder.bert import first_place
from jude.encoder.model_folder import facts_of
from jude.encoder.packaged import MINILM, find_model
from jude.encoder.tokenising import LocalTokeniser, library_version
from jude.encoder.version import file_sha256
from jude.errors import TerminalTrainingError
from jude.training.liger import apply_liger
from jude.training.settings import Mask, ModelSettings


@dataclass(frozen=True, slots=True)
class Base:
    """What an adapter is trained for: another base would make another model of it."""

    name: str
    folder: Path
    tokeniser_file: Path
    weights_hash: str  # sha256
    mask: Mask | None  # that the folder says it was trained with; None: as its family reads

    @property
    def tokeniser_name(self) -> str:
        """Changes whenever token ids may."""
        return f"{library_version()} {file_sha256(self.tokeniser_file)}"


def find_base(name: str) -> Base:
    """Find the base's files. Raises TerminalTrainingError for a folder without weights or tokenizer.json."""
    folder = find_model(name).folder if name == MINILM else Path(name)
    weights = sorted(folder.glob("*.safetensors"))
    tokeniser = folder / "tokenizer.json"
    if not weights or not tokeniser.exists():
        raise TerminalTrainingError(
            f"model.base is {name}: a folder with config.json, tokenizer.json and *.safetensors is needed "
            f"(or {MINILM}, which comes as a package). Nothing is downloaded."
        )
    return Base(name, folder, tokeniser, "".join(file_sha256(file) for file in weights), facts_of(folder).get("mask"))


def open_tokeniser(base: Base, model: ModelSettings) -> LocalTokeniser:
    """Give the tokeniser with the run's prompts and length."""
    return LocalTokeniser("training", base.tokeniser_file, model.max_tokens, model.prompts)


def open_model(base: Base, model: ModelSettings, device: torch.device) -> nn.Module:
    """Load the inner transformer, frozen, in its dtype; of an encoder-decoder its encoder. Dropout is off.

    Raises TerminalTrainingError where the model cannot read texts as long as settings ask for.
    """
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.from_pretrained(base.folder)
    if (longest := _most_tokens(config)) and model.max_tokens > longest:
        raise TerminalTrainingError(f"model.max_tokens is {model.max_tokens}; {base.name} reads {longest} at most.")
    for rate in ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout", "dropout_rate"):
        if isinstance(getattr(config, rate, None), float):
            setattr(config, rate, 0.0)  # frozen weights need none; the adapters have their own
    loaded = AutoModel.from_pretrained(base.folder, config=config, dtype=_dtype(model, device))
    inner: nn.Module = loaded.encoder if config.is_encoder_decoder else loaded
    inner = inner.requires_grad_(False).to(device)
    if model.liger:
        apply_liger(inner, device)
    return inner


def _most_tokens(config: Any) -> int | None:  # noqa: ANN401  any of transformers' configs
    places: int | None = getattr(config, "max_position_embeddings", None)
    counts_from_padding = config.model_type in ("roberta", "xlm-roberta", "mpnet")
    return places - first_place(config.to_dict()) if places and counts_from_padding else places


def chosen_device(model: ModelSettings, rank: int = 0) -> torch.device:
    """Give the device of a rank. Raises TerminalTrainingError where CUDA is asked for and absent."""
    if model.device == "cuda" and not torch.cuda.is_available():
        raise TerminalTrainingError("model.device is cuda, and this machine has none. Set model.device: auto.")
    cuda = model.device != "cpu" and torch.cuda.is_available()
    return torch.device("cuda", rank % torch.cuda.device_count()) if cuda else torch.device("cpu")


def _dtype(model: ModelSettings, device: torch.device) -> torch.dtype:
    if model.dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    wanted: torch.dtype = getattr(torch, model.dtype)
    return wanted
