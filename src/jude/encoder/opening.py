"""From an `EncoderSpec` to what does the work: each is made once per process."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from threading import Lock

from jude.encoder.hashing import DEFAULT_MAX_TOKENS, DEFAULT_WIDTH, HASHING_ALGORITHM, HashingEncoder, HashingTokeniser
from jude.encoder.made_of import MadeOf, made_of
from jude.encoder.packaged import MINILM
from jude.encoder.protocol import Encoder, Tokeniser
from jude.encoder.spec import EncoderSpec, spec_of
from jude.encoder.version import Manifest, file_sha256, model_version
from jude.errors import TerminalSettingsError

HASHING = "hashing"
GRPC = "grpc"
FOLDER = "folder"
KINDS = (MINILM, HASHING, FOLDER, GRPC)

_opening = Lock()  # two threads must not load one model twice
_encoders: dict[str, Encoder] = {}  # of this process; a Spark worker keeps its model between batches


def open_tokeniser(spec: EncoderSpec) -> Tokeniser:
    """Give the tokeniser of a spec; torch is not needed. One per process: it keeps no state of its callers.

    Raises TerminalSettingsError, TerminalEnvironmentError (a package is missing: which, and how to get it).
    """
    with _opening:
        return _tokeniser(spec.as_json())


def open_encoder(spec: EncoderSpec) -> Encoder:
    """Give the encoder of a spec, loading its model if this process has not yet. Safe for several threads.

    Raises TerminalSettingsError, TerminalEnvironmentError (a package is missing: which, and how to get it).
    """
    with _opening:
        line = spec.as_json()
        if line not in _encoders:
            _encoders[line] = _made_encoder(spec)
        return _encoders[line]


def forget_encoder(spec: EncoderSpec) -> None:
    """Hold the model of a spec no longer: its memory is free once nobody else holds it. A later open loads it again."""
    with _opening:
        _encoders.pop(spec.as_json(), None)


def pinned(spec: EncoderSpec) -> EncoderSpec:
    """Name the exact version where a spec names an alias of a server: all processes of a job get the same one."""
    if spec.kind != GRPC:
        return spec
    from jude.encoder import remote

    return remote.pinned(spec)


def models_loaded() -> int:
    """How many encoders this process holds; a Spark worker should never hold more than one per spec."""
    return len(_encoders)


def manifest_of(spec: EncoderSpec) -> Manifest:
    """Everything that the vectors of a spec depend on. Hashes the weights file, once per process."""
    if spec.kind in (MINILM, FOLDER):
        return _manifest_of_model(spec, made_of(spec))
    if spec.kind == GRPC:
        from jude.encoder.remote import describe

        return replace(describe(spec).manifest, prompts=dict(spec.prompts), render_versions=dict(spec.render_versions))
    if spec.kind != HASHING:
        raise TerminalSettingsError(f"encoder.kind is {spec.kind!r}, which there is not. Known: {', '.join(KINDS)}.")
    return Manifest(
        weights=HASHING_ALGORITHM,
        tokeniser=HASHING_ALGORITHM,
        tokeniser_library=None,
        prompts=dict(spec.prompts),
        render_versions=dict(spec.render_versions),
        pooling="mean",
        mask="none",
        max_tokens=spec.max_tokens or DEFAULT_MAX_TOKENS,
        width=spec.width or DEFAULT_WIDTH,
        compute_dtype="float64",
        stored_dtype=spec.dtype,
        normalise=True,
        eos_id=None,
        revision=spec.revision,
    )


def _manifest_of_model(spec: EncoderSpec, parts: MadeOf) -> Manifest:
    from jude.encoder.tokenising import eos_id, library_version

    tokeniser = parts.model.tokeniser
    return Manifest(
        weights=parts.weights_digest(),
        tokeniser=file_sha256(tokeniser),
        tokeniser_library=library_version(),
        prompts=dict(spec.prompts),
        render_versions=dict(spec.render_versions),
        pooling=parts.pooling,
        mask=parts.mask,
        max_tokens=parts.max_tokens,
        width=parts.width,
        compute_dtype=parts.compute,
        stored_dtype=spec.dtype,
        normalise=parts.normalise,
        eos_id=eos_id(tokeniser),
        revision=spec.revision,
    )


def _version(spec: EncoderSpec, manifest: Manifest) -> str:
    """A folder's version is named after its model, not after the place where the folder lies."""
    return model_version(made_of(spec).model.name if spec.kind == FOLDER else spec.kind, manifest)


@lru_cache(maxsize=16)
def _tokeniser(line: str) -> Tokeniser:
    spec = spec_of(line)
    if spec.kind == GRPC:
        from jude.encoder.remote import remote_tokeniser

        return remote_tokeniser(spec)
    manifest = manifest_of(spec)
    version = _version(spec, manifest)
    if spec.kind == HASHING:
        return HashingTokeniser(version, manifest.max_tokens, spec.prompts)
    from jude.encoder.tokenising import LocalTokeniser

    return LocalTokeniser(version, made_of(spec).model.tokeniser, manifest.max_tokens, spec.prompts)


def _made_encoder(spec: EncoderSpec) -> Encoder:
    if spec.kind == GRPC:
        from jude.encoder.remote import RemoteEncoder

        return RemoteEncoder(spec)
    manifest = manifest_of(spec)
    version = _version(spec, manifest)
    if spec.kind == HASHING:
        return HashingEncoder(version, manifest.width)
    from jude.encoder.local import LocalEncoder

    return LocalEncoder(
        version, made_of(spec), batch_tokens=spec.batch_tokens, threads=spec.threads, device=spec.device
    )
