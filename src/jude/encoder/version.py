"""Names for models and their inputs: equal name, equal vectors."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from hashlib import blake2b, sha256
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything that a vector depends on besides its text.

    The model version names all of it but the entities' prompts and render versions: a new entity type must not make
    every vector of the others old. Those are held unchanged per version by `jude.release.register` instead.
    """

    weights: str  # sha256 of the weights file; for the hashing encoder the name of its algorithm
    tokeniser: str  # sha256 of tokenizer.json, likewise
    tokeniser_library: str | None  # "tokenizers 0.23.3"
    prompts: Mapping[str, str]  # by entity type
    render_versions: Mapping[str, str]  # by entity type
    pooling: str  # mean | last | cls | weighted_mean
    mask: str  # bidirectional | causal | none
    max_tokens: int
    width: int
    compute_dtype: str
    stored_dtype: str
    normalise: bool
    eos_id: int | None
    revision: str = ""

    def as_json(self) -> str:
        """The column `manifest` of the table model_versions."""
        return json.dumps(asdict(self), sort_keys=True)


def model_version(name: str, manifest: Manifest) -> str:
    """Name a model version: `all-minilm-l6-v2-1a2b3c4d5e6f`, 12 hex over the manifest without its entities."""
    identity = asdict(manifest)
    del identity["prompts"], identity["render_versions"]
    return f"{name}-{blake2b(json.dumps(identity, sort_keys=True).encode(), digest_size=6).hexdigest()}"


class InputHasher:
    """Hashes the inputs of one model version and prompt: 32 hex over both and the token ids."""

    def __init__(self, version: str, prompt: str) -> None:
        # Lengths first: ("a", "bc") and ("ab", "c") must not meet.
        self._start = blake2b(digest_size=16)
        for part in (version.encode(), prompt.encode("utf-8", "surrogatepass")):
            self._start.update(struct.pack("<q", len(part)) + part)

    def hash(self, token_ids: Sequence[int]) -> str:
        """Hash one input; ids as little-endian int32, so that every machine agrees."""
        digest = self._start.copy()
        digest.update(struct.pack(f"<{len(token_ids)}i", *token_ids))
        return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """Hash a file, once per process and state of it (90 MB of weights take a quarter of a second)."""
    stat = path.stat()
    return _sha256(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    digest = sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
