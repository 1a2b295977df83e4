"""Any Hugging Face model by `transformers`: for training, and for families without a forward pass of our own.

Importing transformers takes seconds of CPU in each process. What only makes vectors uses `bert` and `decoder` instead.
"""

# T tokens of all texts together, B texts, L tokens of the longest, D width

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from jude.encoder.pooling import places
from jude.errors import TerminalEnvironmentError

PACKED: Final = frozenset({"gemma", "llama", "mistral", "qwen2", "qwen3"})
"""Families whose stock forward keeps packed texts apart when positions start anew; each has an isolation test.

BERT leaks: without a mask it attends to everything."""


@dataclass(frozen=True, slots=True)
class OpenTransformer:
    """The inner model (no language-model head), and how its texts are kept apart."""

    model: nn.Module
    family: str  # config.model_type
    causal: bool
    packs: bool  # texts end to end in one row; else padded to the longest
    pad_id: int  # RoBERTa and MPNet count positions from what is not this id

    @classmethod
    def of(cls, model: nn.Module, *, causal: bool | None = None, packs: bool = True) -> OpenTransformer:
        """Read the facts off the model's config. causal: None leaves the family's own mask."""
        config: Any = model.config
        family = str(config.model_type)
        return cls(
            model=model,
            family=family,
            causal=family in PACKED if causal is None else causal,
            packs=packs and family in PACKED,
            pad_id=getattr(config, "pad_token_id", None) or 0,
        )

    def states(self, ids_T: Tensor, lengths_B: Tensor) -> Tensor:
        """Give the last hidden states [T, D] of texts laid end to end; texts do not see each other."""
        return _packed(self, ids_T, lengths_B) if self.packs else _padded(self, ids_T, lengths_B)


def open_transformer(
    folder: Path,
    *,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    causal: bool | None = None,
    adapter: Path | None = None,
    merge: bool = True,
    attention: str | None = None,
    gguf_file: str | None = None,
    rounded: torch.dtype | None = None,
) -> OpenTransformer:
    """Open a model folder; nothing is downloaded. Evaluation mode: a trainer calls `model.train()`.

    causal: None leaves the family's own mask. adapter: a LoRA folder of peft, merged in float32 unless merge is
    False; a merged model is cast to `dtype` afterwards. attention: None takes the fastest that transformers has.
    rounded: a narrower type that every weight passes through, where it is computed with in a wider one.
    Raises TerminalEnvironmentError.
    """
    model = open_model(folder, dtype=dtype, adapter=adapter, merge=merge, attention=attention, gguf_file=gguf_file)
    for weight in model.parameters():  # not the buffers: rotary frequencies need their float32
        weight.data = weight.data.to(rounded or dtype).to(dtype)
    return OpenTransformer.of(model.to(device).eval(), causal=causal)


def open_model(
    folder: Path,
    *,
    dtype: torch.dtype = torch.float32,
    adapter: Path | None = None,
    merge: bool = True,
    attention: str | None = None,
    gguf_file: str | None = None,
) -> nn.Module:
    """Open the inner model alone, by the rules of `open_transformer`. Raises TerminalEnvironmentError."""
    if adapter is None:
        return _load(folder, dtype, attention, gguf_file)
    return _with_adapter(_load(folder, torch.float32, attention, gguf_file), adapter, merge=merge)


def _load(folder: Path, dtype: torch.dtype, attention: str | None, gguf_file: str | None) -> nn.Module:
    try:
        from transformers import AutoModel
        from transformers.utils import logging
    except ModuleNotFoundError as missing:
        raise TerminalEnvironmentError(
            f"The package {missing.name} is not installed. Install it: pip install 'jude[torch]'."
        ) from missing
    logging.disable_progress_bar()
    more = {"gguf_file": gguf_file} if gguf_file else {}
    try:
        found = AutoModel.from_pretrained(
            folder, local_files_only=True, dtype=dtype, attn_implementation=attention, **more
        )
    except (OSError, ValueError) as error:
        raise TerminalEnvironmentError(f"{folder} cannot be read as a model: {error}") from error
    return cast("nn.Module", found)


def _with_adapter(model: nn.Module, adapter: Path, *, merge: bool) -> nn.Module:
    from peft import PeftModel, get_peft_model_state_dict, load_peft_weights

    try:
        adapted = PeftModel.from_pretrained(model, str(adapter), is_trainable=not merge)
        names = set(load_peft_weights(str(adapter), device="cpu"))
    except (OSError, ValueError, RuntimeError) as error:
        raise TerminalEnvironmentError(f"{adapter} is no adapter for this model: {error}") from error
    # peft passes over names that the model does not have: nothing, or a part, would be merged in silence.
    if strange := names ^ set(get_peft_model_state_dict(adapted, save_embedding_layers=False)):
        raise TerminalEnvironmentError(
            f"{adapter} is for another model: {', '.join(sorted(strange)[:2])} is not in both. If it was made for this "
            "model with a head, load the model without it (AutoModel) and save the adapter from there."
        )
    return cast("nn.Module", adapted.merge_and_unload() if merge else adapted)


def _packed(opened: OpenTransformer, ids_T: Tensor, lengths_B: Tensor) -> Tensor:
    # With an all-ones mask texts would leak into each other; with none, transformers finds the starts by the positions.
    mask = None if opened.causal else _same_text(lengths_B)[None, None]
    positions = places(lengths_B)[None]
    made = opened.model(input_ids=ids_T[None], position_ids=positions, attention_mask=mask, use_cache=False)
    return cast("Tensor", made.last_hidden_state[0])


def _same_text(lengths_B: Tensor) -> Tensor:
    text_T = torch.arange(len(lengths_B), device=lengths_B.device).repeat_interleave(lengths_B)
    return text_T[:, None] == text_T[None, :]


def _padded(opened: OpenTransformer, ids_T: Tensor, lengths_B: Tensor) -> Tensor:
    texts = torch.tensor_split(ids_T, lengths_B.cumsum(0)[:-1].cpu())
    ids_BL = pad_sequence(list(texts), batch_first=True, padding_value=opened.pad_id)
    real_BL = torch.arange(ids_BL.shape[1], device=ids_T.device)[None, :] < lengths_B[:, None]
    mask = real_BL.long()
    if opened.family in PACKED and not opened.causal:
        mask = real_BL[:, None, None, :].expand(-1, 1, real_BL.shape[1], -1)  # every token reads all of its text
    made = opened.model(input_ids=ids_BL, attention_mask=mask)
    return cast("Tensor", made.last_hidden_state[real_BL])
