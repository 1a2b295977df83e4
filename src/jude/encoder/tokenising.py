"""Texts to token ids with the `tokenizers` library alone: planning needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import tokenizers
from tokenizers import Encoding, Tokenizer

from jude.encoder.prompts import prompt_of
from jude.encoder.protocol import ModelInput
from jude.encoder.version import InputHasher

_CHARS_PER_TOKEN = 8  # English prose has 4 to 5: the first cut nearly always leaves more than enough tokens


class LocalTokeniser:
    """The tokeniser of a model folder. Works outside the GIL, on all cores."""

    def __init__(
        self, model_version: str, file: Path, max_tokens: int, prompts: Mapping[str, str] | None = None
    ) -> None:
        self.model_version = model_version
        self.file = file
        self._prompts = prompts or {}
        self._tokenizer = Tokenizer.from_file(str(file))
        self._tokenizer.no_padding()  # the packaged file pads to 128 and cuts at 128
        self._tokenizer.enable_truncation(max_tokens)
        self._enough_chars = max_tokens * _CHARS_PER_TOKEN

    def inputs(self, entity_type: str, texts: Sequence[str]) -> list[ModelInput]:
        """Give one input per text, in order. Raises TerminalSettingsError for an entity type without a prompt."""
        prompt = prompt_of(self._prompts, entity_type)
        input_hash = InputHasher(self.model_version, prompt).hash
        made = []
        for encoding in self._encodings([prompt + text for text in texts]):
            token_ids = tuple(encoding.ids)
            made.append(ModelInput(input_hash(token_ids), token_ids, bool(encoding.overflowing)))
        return made

    def _encodings(self, texts: list[str]) -> list[Encoding]:
        """Tokenise the head of long texts only: a 1 MB text is cut to the same ids as its first page.

        Words do not cross white space, so a head that fills the model decides the ids; one that does not is
        tokenised again in full.
        """
        heads = [self._head(text) for text in texts]
        encodings = self._tokenizer.encode_batch_fast(heads)
        again = [
            row
            for row, (text, head) in enumerate(zip(texts, heads, strict=True))
            if len(head) < len(text) and not encodings[row].overflowing
        ]
        for row, encoding in zip(again, self._tokenizer.encode_batch_fast([texts[r] for r in again]), strict=True):
            encodings[row] = encoding
        return encodings

    def _head(self, text: str) -> str:
        if len(text) <= self._enough_chars:
            return text
        end = text.rfind(" ", 0, self._enough_chars)
        return text if end < 0 else text[:end]


def library_version() -> str:
    """Part of the model version: another version of the library may give other ids."""
    return f"tokenizers {tokenizers.__version__}"


def eos_id(file: Path) -> int | None:
    """The id that ends every input (BERT's [SEP]); None where the tokeniser adds none."""
    # A tokeniser that only begins texts ends an empty one with its first id, but no other.
    return _of_every_text(file, slice(-1, None))


def bos_id(file: Path) -> int | None:
    """The id that begins every input (BERT's [CLS]); None where the tokeniser adds none."""
    return _of_every_text(file, slice(1))


def _of_every_text(file: Path, place: slice) -> int | None:
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_padding()
    found = {tuple(tokenizer.encode(text).ids[place]) for text in ("", "a", "b")}
    return int(found.pop()[0]) if len(found) == 1 and () not in found else None
