"""From an `EncoderSpec` to what does the work: each is made once per process."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from threading import Lock

from jude.encoder.hashing import DEFAULT_MAX_TOKENS, DEFAULT_WIDTH, HASHING_ALGORITHM, HashingEncoder, HashingTokeniser
from jude.encoder.packaged import MINILM, LocalModel, find_model
from jude.encoder.protocol import Encoder, Tokeniser
from jude.encoder.spec import EncoderSpec, spec_of
from jude.encoder.version import Manifest, file_sha256, model_version
from jude.errors import TerminalSettingsError

HASHING = "hashing"
GRPC = "grpc"
KINDS = (MINILM, HASHING, GRPC)

_opening = Lock()  # two threads must not load one model twice


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
        return _encoder(spec.as_json())


def pinned(spec: EncoderSpec) -> EncoderSpec:
    """Name the exact version where a spec names an alias of a server: all processes of a job get the same one."""
    if spec.kind != GRPC:
        return spec
    from jude.encoder import remote

    return remote.pinned(spec)


def models_loaded() -> int:
    """How many encoders this process has loaded; a Spark worker should never load more than one per spec."""
    return _encoder.cache_info().misses


def manifest_of(spec: EncoderSpec) -> Manifest:
    """Everything that the vectors of a spec depend on. Hashes the weights file, once per process."""
    if spec.kind == MINILM:
        return _manifest_of_model(spec, find_model(spec.kind))
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


def _manifest_of_model(spec: EncoderSpec, model: LocalModel) -> Manifest:
    from jude.encoder.tokenising import eos_id, library_version

    return Manifest(
        weights=file_sha256(model.weights),
        tokeniser=file_sha256(model.tokeniser),
        tokeniser_library=library_version(),
        prompts=dict(spec.prompts),
        render_versions=dict(spec.render_versions),
        pooling=model.pooling,
        mask="bidirectional",
        max_tokens=model.checked_max_tokens(spec.max_tokens),
        width=model.checked_width(spec.width),
        compute_dtype="float32",
        stored_dtype=spec.dtype,
        normalise=True,
        eos_id=eos_id(model.tokeniser),
        revision=spec.revision,
    )


@lru_cache(maxsize=16)
def _tokeniser(line: str) -> Tokeniser:
    spec = spec_of(line)
    if spec.kind == GRPC:
        from jude.encoder.remote import remote_tokeniser

        return remote_tokeniser(spec)
    manifest = manifest_of(spec)
    version = model_version(spec.kind, manifest)
    if spec.kind == HASHING:
        return HashingTokeniser(version, manifest.max_tokens, spec.prompts)
    from jude.encoder.tokenising import LocalTokeniser

    return LocalTokeniser(version, find_model(spec.kind).tokeniser, manifest.max_tokens, spec.prompts)


@lru_cache(maxsize=4)
def _encoder(line: str) -> Encoder:
    spec = spec_of(line)
    if spec.kind == GRPC:
        from jude.encoder.remote import RemoteEncoder

        return RemoteEncoder(spec)
    manifest = manifest_of(spec)
    version = model_version(spec.kind, manifest)
    if spec.kind == HASHING:
        return HashingEncoder(version, manifest.width)
    from jude.encoder.local import LocalEncoder

    return LocalEncoder(version, find_model(spec.kind), batch_tokens=spec.batch_tokens, threads=spec.threads)
