"""What a model folder says about itself: the layout of sentence-transformers, read without torch.

`jude.json` in the folder holds what that layout has no place for: the mask and the widths a model was trained for.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from jude.encoder.version import file_sha256
from jude.errors import TerminalEnvironmentError, TerminalSettingsError

POOLINGS: Final = ("mean", "last", "cls", "weighted_mean")
DECODERS: Final = frozenset({"gemma", "llama", "mistral", "qwen2", "qwen3"})
_POOLING_OF: Final = {
    "mean": "mean", "mean_tokens": "mean", "lasttoken": "last", "cls": "cls", "cls_token": "cls",
    "weightedmean": "weighted_mean", "weightedmean_tokens": "weighted_mean",
}  # fmt: skip
_KNOWN_MODULES: Final = ("Transformer", "Pooling", "Normalize")
_AFTER_PADDING: Final = frozenset(
    {"camembert", "data2vec-text", "longformer", "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta",
     "xlm-roberta-xl"}
)  # fmt: skip
_WIDTHS: Final = ("hidden_size", "dim", "d_model", "n_embd", "emb_dim")
FACTS_FILE: Final = "jude.json"


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """One model on disk, with the choices that its authors made."""

    name: str
    folder: Path
    config: dict[str, Any] = field(hash=False, repr=False)
    trained_max_tokens: int
    pooling: str | None  # None: a bare folder of transformers does not say
    normalise: bool
    mask: str  # causal | bidirectional
    widths: tuple[int, ...]  # that it was trained for, the whole one last

    @property
    def family(self) -> str:
        """What transformers calls model_type."""
        return str(self.config["model_type"])

    @property
    def width(self) -> int:
        return self.widths[-1]

    @property
    def weights(self) -> Path:
        return self.folder / "model.safetensors"

    @property
    def tokeniser(self) -> Path:
        return self.folder / "tokenizer.json"

    def digest(self, adapter: Path | None) -> str:
        """Hash what the vectors depend on: config, weights (all shards), adapter."""
        files = [self.folder / "config.json", *_weights_in(self.folder, "model")]
        if adapter is not None:
            files += [adapter / "adapter_config.json", *_weights_in(adapter, "adapter_model")]
        missing = [str(file) for file in files if not file.exists()]
        if missing:
            raise TerminalEnvironmentError(
                f"{', '.join(missing)} is missing: copy the model or adapter anew, or make safetensors of what is "
                f"there: jude model import {self.folder} TARGET"
            )
        return sha256("".join(f"{file.name} {file_sha256(file)}\n" for file in files).encode()).hexdigest()

    def checked_max_tokens(self, wanted: int | None) -> int:
        """Raises TerminalSettingsError past what the model was trained for, or where no word would be left."""
        if wanted is None:
            return self.trained_max_tokens
        if not 3 <= wanted <= self.trained_max_tokens:
            raise TerminalSettingsError(
                f"encoder.max_tokens is {wanted}; {self.name} reads 3 to {self.trained_max_tokens} tokens, "
                "the two special ones included."
            )
        return wanted

    def checked_width(self, wanted: int | None) -> int:
        """Raises TerminalSettingsError for a width that the model was not trained to be cut to."""
        if wanted is not None and wanted not in self.widths:
            offered = " or ".join(map(str, self.widths))
            raise TerminalSettingsError(
                f"encoder.width is {wanted}, but {self.name} makes {offered} numbers. Set encoder.width: {offered}."
            )
        return wanted or self.width

    def checked_pooling(self, wanted: str | None) -> str:
        """Raises TerminalSettingsError for an unknown pooling, or where neither settings nor folder name one."""
        pooling = wanted or self.pooling
        if pooling not in POOLINGS:
            raise TerminalSettingsError(
                f"The pooling of {self.folder} is {pooling!r}. Set encoder.pooling: one of {', '.join(POOLINGS)}."
            )
        return pooling


def read_model_folder(folder: Path, name: str | None = None) -> ModelFolder:
    """Read the facts of a folder. Raises TerminalEnvironmentError for what is missing or cannot be honoured."""
    config = _read(folder / "config.json")
    facts = facts_of(folder)
    if not (folder / "tokenizer.json").exists():
        raise TerminalEnvironmentError(
            f"{folder} has no tokenizer.json. Make a folder that has one: jude model import {folder} TARGET"
        )
    if not isinstance(config, dict) or "model_type" not in config:
        raise TerminalEnvironmentError(f"{folder}/config.json says no model_type: JUDE knows no such model.")
    _require_case(folder)
    pooling, normalise = _modules(folder)
    causal = config["model_type"] in DECODERS and not config.get("use_bidirectional_attention")
    whole = _width(folder, config)
    return ModelFolder(
        name=name or facts.get("name") or str(config["model_type"]),
        folder=folder,
        config=config,
        trained_max_tokens=_max_tokens(folder, config),
        pooling=pooling,
        normalise=normalise,
        mask=facts.get("mask") or ("causal" if causal else "bidirectional"),
        widths=(*sorted(w for w in facts.get("widths", ()) if w < whole), whole),
    )


def _width(folder: Path, config: dict[str, Any]) -> int:
    """The families do not agree on its name. Raises TerminalEnvironmentError for what is no encoder alone."""
    if config.get("is_encoder_decoder"):
        raise TerminalEnvironmentError(
            f"{folder} is {config['model_type']}, an encoder with a decoder: JUDE reads either."
        )
    found = next((config[key] for key in _WIDTHS if key in config), None)
    if found is None:
        raise TerminalEnvironmentError(f"{folder}/config.json says no width: none of {', '.join(_WIDTHS)}.")
    return int(found)


def facts_of(folder: Path) -> dict[str, Any]:
    """Give what jude.json says: name, mask, widths; empty where there is none."""
    found: dict[str, Any] = _read(folder / FACTS_FILE, {})
    return found


def _require_case(folder: Path) -> None:
    """Raises TerminalEnvironmentError for a folder that wants texts in small letters from whoever reads it."""
    if not _read(folder / "sentence_bert_config.json", {}).get("do_lower_case"):
        return
    from tokenizers import Tokenizer

    capital, small = (Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids for text in ("A B", "a b"))
    if capital != small:
        raise TerminalEnvironmentError(
            f"{folder} says do_lower_case, and its tokeniser does not do it: JUDE reads texts as they are. Give "
            "tokenizer.json the normaliser Lowercase, and take do_lower_case away."
        )


def _weights_in(folder: Path, name: str) -> list[Path]:
    """Weights of another format would not be part of the version: where there are no safetensors, they are missing."""
    return sorted(folder.glob("*.safetensors")) or [folder / f"{name}.safetensors"]


def _modules(folder: Path) -> tuple[str | None, bool]:
    """Give pooling and whether vectors get unit norm; a bare folder says no pooling, and ours have unit norm."""
    modules = _read(folder / "modules.json", [])
    kinds = {str(module["type"]).rsplit(".", 1)[-1]: module["path"] for module in modules}
    if strange := sorted(set(kinds) - set(_KNOWN_MODULES)):
        raise TerminalEnvironmentError(f"{folder} ends in {', '.join(strange)}, which JUDE cannot compute.")
    if "Pooling" not in kinds:
        return None, True
    config = _read(folder / kinds["Pooling"] / "config.json")
    said = [key.removeprefix("pooling_mode_") for key, on in config.items() if key.startswith("pooling_mode_") and on]
    modes = [config["pooling_mode"]] if isinstance(config.get("pooling_mode"), str) else said
    if len(modes) != 1 or modes[0] not in _POOLING_OF or config.get("include_prompt") is False:
        raise TerminalEnvironmentError(
            f"{folder} asks for the pooling {' + '.join(modes) or 'of nothing'}"
            f"{' without the prompt' if config.get('include_prompt') is False else ''}; JUDE has {', '.join(POOLINGS)}."
        )
    return _POOLING_OF[modes[0]], "Normalize" in kinds


def _max_tokens(folder: Path, config: dict[str, Any]) -> int:
    """The smallest of what the folder's files say; RoBERTa's kin use up two positions."""
    used = int(config.get("pad_token_id") or 0) + 1 if config["model_type"] in _AFTER_PADDING else 0
    said = [
        int(config.get("max_position_embeddings", 512)) - used,
        _read(folder / "sentence_bert_config.json", {}).get("max_seq_length"),
        _read(folder / "tokenizer_config.json", {}).get("model_max_length"),
    ]
    return min(int(number) for number in said if number)


def _read(path: Path, absent: Any = None) -> Any:  # noqa: ANN401 - JSON is what it is
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        if absent is not None:
            return absent
        raise TerminalEnvironmentError(
            f"{path} is missing: this is no model folder, or not all of it. Copy or install it anew."
        ) from None
    except ValueError as error:
        raise TerminalEnvironmentError(f"{path} is not JSON: {error}") from None
