"""The model of a server behind the same protocol (`encoder.kind: grpc`): this machine needs neither model nor torch.

The server describes its model version, tokeniser included; everything is checked against the version's own hash. From
then on the exact version is pinned, and an answer of another version, or for other token ids, is refused.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jude.encoder.batches import token_chunks
from jude.encoder.hashing import HASHING_ALGORITHM, HashingTokeniser
from jude.encoder.protocol import Tokeniser
from jude.encoder.spec import EncoderSpec, spec_of
from jude.encoder.tokenising import LocalTokeniser
from jude.encoder.version import InputHasher, Manifest, model_version
from jude.errors import TerminalEncoderError, TerminalSettingsError, TransientEncoderError
from jude.serving.client import EmbeddingClient, Embeddings, Wanted
from jude.serving.lanes import Lane
from jude.serving.refusal import TRANSIENT, Code, RefusedError

_PASSES_PER_LIST = 4
_MOST_ITEMS = 1024
_LISTS_AT_ONCE = 4  # enough that the server always has the next pass waiting
_OPENING_SECONDS = 20.0
_OF_THE_TIME_LIMIT = 0.95  # give up before the caller's own time limit, which can only leave a thread behind
_OF_ONE_ITEM = frozenset({Code.INVALID_ARGUMENT, Code.INTERNAL})


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """A model version as a server describes it."""

    version: str
    manifest: Manifest
    pass_tokens: int
    tokeniser_file: bytes


def describe(spec: EncoderSpec) -> RemoteModel:
    """Ask the server for the model of a spec, once per process, and check what it says.

    Raises TransientEncoderError when it cannot be reached; TerminalSettingsError when it serves something else than
    the settings here describe; TerminalEncoderError when its answer contradicts itself.
    """
    return _describe(replace(spec, batch_tokens=1, threads=None).as_json())


def pinned(spec: EncoderSpec) -> EncoderSpec:
    """Replace an alias by the exact version it means now, so that all processes of a job use the same one."""
    return replace(spec, server_model=describe(spec).version)


def remote_tokeniser(spec: EncoderSpec) -> Tokeniser:
    """Tokenise here, as the server's model would."""
    model = describe(spec)
    if model.manifest.tokeniser == HASHING_ALGORITHM:
        return HashingTokeniser(model.version, model.manifest.max_tokens, spec.prompts)
    return LocalTokeniser(model.version, _kept(model), model.manifest.max_tokens, spec.prompts)


class RemoteEncoder:
    """Vectors from a server, in the lane BULK. Threads may share it."""

    def __init__(self, spec: EncoderSpec) -> None:
        """Pin the version that the server serves. Raises as `describe` does."""
        assert spec.server is not None, "the settings give kind grpc its server"
        model = describe(spec)
        self.model_version = model.version
        self.width = model.manifest.width
        self._chunk_tokens = _PASSES_PER_LIST * model.pass_tokens
        seconds = _OF_THE_TIME_LIMIT * spec.server_seconds
        self._client = EmbeddingClient(spec.server, timeout_seconds=seconds)
        self._wanted = Wanted(model=model.version, lane=Lane.BULK)
        self._hash = InputHasher(model.version, "").hash
        self._callers = ThreadPoolExecutor(_LISTS_AT_ONCE, "jude-remote")

    def encode(self, token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Encode inputs to a float32 array [len(token_ids), width], in order; NaN for one that alone is bad.

        Raises TransientEncoderError when the server stays away or full for the whole time limit; TerminalEncoderError
        when it no longer serves the pinned version, or answers with another.
        """
        vectors = np.full((len(token_ids), self.width), np.nan, np.float32)
        chunks = token_chunks([len(ids) for ids in token_ids], self._chunk_tokens, _MOST_ITEMS)
        lists = [[token_ids[row] for row in chunk] for chunk in chunks]
        for chunk, answer in zip(chunks, self._callers.map(self._ask, lists), strict=True):
            vectors[chunk.start : chunk.stop] = answer
        return vectors

    def _ask(self, token_ids: list[Sequence[int]]) -> NDArray[np.float32]:
        try:
            found = self._client.embed_batch([np.asarray(ids, "<i4") for ids in token_ids], self._wanted)
        except RefusedError as refused:
            raise _as_encoder_error(refused, self.model_version) from refused
        self._check(found, token_ids)
        return found.vectors

    def _check(self, found: Embeddings, token_ids: list[Sequence[int]]) -> None:
        """Refuse vectors of another version or of other token ids."""
        if found.model_version != self.model_version or found.vectors.shape != (len(token_ids), self.width):
            raise TerminalEncoderError(
                f"The server answered with {found.model_version}, {list(found.vectors.shape)}; asked for "
                f"{self.model_version}, {[len(token_ids), self.width]}. Nothing of it was kept."
            )
        for ids, input_hash, error in zip(token_ids, found.input_hashes, found.errors, strict=True):
            if error is not None and error.code not in _OF_ONE_ITEM:
                raise _as_encoder_error(error, self.model_version)
            if input_hash and input_hash != self._hash(ids):
                raise TerminalEncoderError(
                    f"The server's vector is for {input_hash}, which are not the token ids that were sent. "
                    "Client and server are of different JUDE versions, or a proxy mixes answers up."
                )


def _as_encoder_error(refused: RefusedError, version: str) -> TransientEncoderError | TerminalEncoderError:
    if refused.code in TRANSIENT or refused.code in (Code.UNKNOWN, Code.CANCELLED, Code.INTERNAL):
        return TransientEncoderError(f"The embedding server did not answer ({refused.code.name}): {refused}")
    return TerminalEncoderError(
        f"The embedding server refuses ({refused.code.name}): {refused} Wanted is {version}; see encoder.server."
    )


@lru_cache(maxsize=8)
def _describe(line: str) -> RemoteModel:
    spec = spec_of(line)
    if spec.server is None:
        raise TerminalSettingsError("encoder.kind is grpc, so encoder.server must name a server.")
    client = EmbeddingClient(spec.server, timeout_seconds=_OPENING_SECONDS)
    try:
        (info,) = client.info(spec.server_model, include_tokenizer=True)
    except RefusedError as refused:
        raise _as_encoder_error(refused, spec.server_model) from refused
    manifest = Manifest(**json.loads(info.manifest))
    claimed = model_version(info.name, manifest)
    if claimed != info.model_version or not _is_tokeniser(info.tokenizer, manifest):
        raise TerminalEncoderError(
            f"{spec.server.target} calls its model {info.model_version}, but what it says of it makes {claimed}. "
            "Client and server are of different JUDE versions: bring them to the same one."
        )
    _require_same(spec, manifest)
    return RemoteModel(info.model_version, manifest, info.pass_tokens, info.tokenizer)


def _is_tokeniser(file: bytes, manifest: Manifest) -> bool:
    return manifest.tokeniser == HASHING_ALGORITHM or sha256(file).hexdigest() == manifest.tokeniser


def _require_same(spec: EncoderSpec, manifest: Manifest) -> None:
    """Raises TerminalSettingsError where the settings here ask for something else than the server makes."""
    pairs = {
        "encoder.dtype": (spec.dtype, manifest.stored_dtype),
        "encoder.max_tokens": (spec.max_tokens, manifest.max_tokens),
        "encoder.width": (spec.width, manifest.width),
        "encoder.revision": (spec.revision or None, manifest.revision),
    }
    for entity_type in spec.prompts.keys() & manifest.prompts.keys():
        of_server = manifest.prompts[entity_type]
        pairs[f"the prompt of {entity_type}"] = (spec.prompts[entity_type], of_server)
    for key, (here, there) in pairs.items():
        if here is not None and here != there:
            raise TerminalSettingsError(
                f"{key} is {here!r} here and {there!r} at the embedding server. Both must say the same: "
                "start the server with these settings, or take its own."
            )


def _kept(model: RemoteModel) -> Path:
    """Write the tokeniser where the library can read it; equal files share a place."""
    folder = Path(tempfile.gettempdir()) / f"jude-tokenisers-{_user()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    place = folder / f"{model.manifest.tokeniser}.json"
    if not place.is_file() or place.read_bytes() != model.tokeniser_file:
        partial = place.with_suffix(f".{time.monotonic_ns()}.partial")
        partial.write_bytes(model.tokeniser_file)
        partial.replace(place)
    return place


def _user() -> str:
    import getpass

    return getpass.getuser()
