"""The model versions a server has loaded, and which alias means which."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jude.encoder import (
    Encoder,
    EncoderSpec,
    Manifest,
    ModelInput,
    Tokeniser,
    manifest_of,
    open_encoder,
    open_tokeniser,
)
from jude.encoder.made_of import made_of
from jude.encoder.opening import HASHING
from jude.encoder.version import InputHasher
from jude.errors import JudeError, TerminalEnvironmentError
from jude.serving.apart import ModelApart, usable_cores
from jude.serving.refusal import Code, RefusedError

CURRENT = "current"
_CANARIES = (
    "Registered nurse for a small rural hospital",
    "Builds and runs the payment services of a public agency: Python, Postgres, on call one week in six. " * 4,
    "clerk",
)
_SAME_COSINE = 0.9999  # one text alone and in a batch, same dtype: the published tolerance
_SMALLEST_PASS_TOKENS = 64
_LARGEST_PASS_TOKENS = 1 << 17
_SLOW_DOWN = 0.8  # weight of what was known when a pass corrects the measured speed

Clock = Callable[[], float]


@dataclass(eq=False)
class LoadedModel:
    """One model version, ready to compute."""

    spec: EncoderSpec
    manifest: Manifest
    tokeniser: Tokeniser
    encoder: Encoder
    dimensions: tuple[int, ...]  # that a caller may ask for: what the model was trained to be cut to, all numbers last
    pass_seconds: float = 0.1
    pass_tokens: int = _SMALLEST_PASS_TOKENS
    tokens_per_second: float = 1.0
    canary_ids: Sequence[tuple[int, ...]] = ()
    canary_vectors: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))

    @property
    def model_version(self) -> str:
        return self.encoder.model_version

    @property
    def width(self) -> int:
        return self.encoder.width

    @property
    def side_by_side(self) -> int:
        """How many passes run at once: one per core on a CPU; encoders that do not say so do one at a time."""
        return int(getattr(self.encoder, "side_by_side", 1))

    def encode(self, token_ids: Sequence[Sequence[int]], *, on_one_core: bool) -> NDArray[np.float32]:
        """Compute one pass: on one core beside others, or as fast as this machine can."""
        if on_one_core and self.side_by_side > 1:
            # Whoever says `side_by_side` has it; the protocol does not ask for it.
            return self.encoder.encode_on_one_core(token_ids)  # type: ignore[attr-defined, no-any-return]
        return self.encoder.encode(token_ids)

    def prompted(self, entity_type: str, texts: Sequence[str]) -> list[ModelInput]:
        """Tokenise texts behind the prompt of their entity type. Raises TerminalSettingsError for an unknown one."""
        return self.tokeniser.inputs(entity_type, texts)

    def hasher(self, entity_type: str) -> InputHasher:
        """Hashes token ids that a caller sent; without an entity type their prompt counts as part of them."""
        return InputHasher(self.model_version, self.spec.prompts.get(entity_type, "") if entity_type else "")

    def tokeniser_file(self) -> bytes:
        """The tokeniser as a file, so that a pipeline needs no model of its own; empty for one that has none."""
        file = getattr(self.tokeniser, "file", None)
        return file.read_bytes() if isinstance(file, Path) else b""

    def learn_speed(self, tokens: int, seconds: float, *, on_one_core: bool) -> None:
        """Let a full pass correct the measured speed: the machine may have less time for us than at warm-up."""
        if tokens * 2 >= self.pass_tokens and seconds > 0:
            measured = tokens / seconds * (self.side_by_side if on_one_core else 1)
            self.learnt(_SLOW_DOWN * self.tokens_per_second + (1 - _SLOW_DOWN) * measured)

    def learnt(self, tokens_per_second: float) -> None:
        """Take a speed of the whole machine; the budget of a pass follows, which has one core where several run."""
        self.tokens_per_second = tokens_per_second
        budget = int(self.pass_seconds * tokens_per_second / self.side_by_side)
        self.pass_tokens = min(_LARGEST_PASS_TOKENS, max(_SMALLEST_PASS_TOKENS, budget))


def open_model(spec: EncoderSpec) -> LoadedModel:
    """Load a model version; not warm yet. Raises TerminalSettingsError, TerminalEnvironmentError."""
    try:
        manifest = manifest_of(spec)
        encoder = open_encoder(spec) if spec.kind == HASHING else ModelApart(spec, usable_cores())
        return LoadedModel(spec, manifest, open_tokeniser(spec), encoder, _dimensions(spec, manifest))
    except JudeError:
        raise
    except Exception as error:  # of safetensors, tokenizers or torch: each has its own tree
        where = spec.path or spec.kind
        raise TerminalEnvironmentError(
            f"The model {where} could not be loaded on {spec.device} ({type(error).__name__}: {error}). "
            "Its files may be damaged, or the device absent: copy the model anew, or set encoder.device."
        ) from error


def _dimensions(spec: EncoderSpec, manifest: Manifest) -> tuple[int, ...]:
    """Cutting and normalising again is the shorter vector only where vectors are normalised at all."""
    trained = () if spec.kind == HASHING or not manifest.normalise else made_of(spec).model.widths
    return (*(width for width in trained if width < manifest.width), manifest.width)


def warm_up(model: LoadedModel, pass_seconds: float, clock: Clock = time.perf_counter) -> None:
    """Check the canaries, then turn the pass budget from seconds into tokens by measuring ever larger passes.

    Raises TerminalEnvironmentError when the model gives no finite vectors, or other ones in a batch than alone.
    """
    entity_type = next(iter(model.spec.prompts), "")
    model.canary_ids = [made.token_ids for made in model.prompted(entity_type, _CANARIES)]
    model.canary_vectors = checked_canaries(model)
    ids = model.canary_ids[1]
    tokens = _SMALLEST_PASS_TOKENS
    while True:
        rows = max(1, tokens // len(ids))
        seconds = min(_timed(model, [ids] * rows, clock) for _ in range(2))
        model.tokens_per_second = rows * len(ids) / max(seconds, 1e-9)
        # Half the budget is near enough: passes of this size and larger cost the same per token.
        if seconds * 2 >= pass_seconds or tokens >= _LARGEST_PASS_TOKENS:
            break
        tokens *= 2
    model.pass_seconds = pass_seconds
    model.learnt(model.tokens_per_second)


def checked_canaries(model: LoadedModel) -> NDArray[np.float32]:
    """Embed the known texts alone and together: [canaries, width]. Raises TerminalEnvironmentError."""
    alone = np.concatenate([model.encoder.encode([ids]) for ids in model.canary_ids])
    if alone.shape[1] != model.manifest.width:
        raise TerminalEnvironmentError(
            f"{model.model_version} makes {alone.shape[1]} numbers, but its manifest says {model.manifest.width}."
        )
    if not np.isfinite(alone).all():
        raise TerminalEnvironmentError(
            f"{model.model_version} gives numbers that are not finite for a plain text. Its weights are damaged, or "
            "its dtype is too narrow for it: take bfloat16 or float32."
        )
    lowest = lowest_cosine(alone, model.encoder.encode(list(model.canary_ids)))
    if lowest < _SAME_COSINE:
        raise TerminalEnvironmentError(
            f"{model.model_version} gives other vectors in a batch than alone (cosine {lowest:.6f}): "
            "texts leak into each other. It is not served."
        )
    return alone


def lowest_cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """The lowest cosine of rows with their counterparts; 0 where one is not finite."""
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    lowest = float(((a * b).sum(axis=1) / np.maximum(norms, 1e-30)).min())
    return lowest if np.isfinite(lowest) else 0.0


def _timed(model: LoadedModel, token_ids: list[tuple[int, ...]], clock: Clock) -> float:
    start = clock()
    model.encoder.encode(token_ids)
    return clock() - start


class Shelf:
    """What is served now. A request looks its model up once and keeps it, whatever is swapped meanwhile."""

    def __init__(self, models: Mapping[str, LoadedModel]) -> None:
        self._by_alias = dict(models)

    def swap(self, models: Mapping[str, LoadedModel]) -> None:
        """Serve these aliases from now on; models that no request holds any longer go away by themselves."""
        self._by_alias = dict(models)

    def find(self, name: str) -> LoadedModel:
        """Give the model of an alias or exact version. Raises RefusedError (FAILED_PRECONDITION)."""
        models = self._by_alias
        found = models.get(name or CURRENT) or next((m for m in models.values() if m.model_version == name), None)
        if found is None:
            served = ", ".join(f"{alias} = {m.model_version}" for alias, m in models.items())
            raise RefusedError(
                Code.FAILED_PRECONDITION,
                f"That model version is not served here. Served: {served}.",
                reason="unknown_model",
            )
        return found

    def versions(self) -> list[tuple[LoadedModel, list[str]]]:
        """Every model with its aliases."""
        models = dict.fromkeys(self._by_alias.values())
        return [(model, [alias for alias, m in self._by_alias.items() if m is model]) for model in models]
