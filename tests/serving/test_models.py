"""Warm-up, canaries, and which alias means which version."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.servers.small_qwen import make_folder
from jude.cli.serve import specs_of
from jude.encoder.protocol import Encoder
from jude.errors import TerminalEnvironmentError
from jude.serving.models import LoadedModel, Shelf, open_model, warm_up
from jude.serving.refusal import Code, RefusedError
from tests.serving.running import settings_with


def model(*overrides: str) -> LoadedModel:
    return open_model(specs_of(settings_with(*overrides))["current"])


class Clock:
    """Time passes only while the model computes: `seconds_per_token` for each token."""

    def __init__(self, encoder: Encoder, seconds_per_token: float) -> None:
        self.now, self.encoder, self.seconds_per_token = 0.0, encoder, seconds_per_token
        self.model_version, self.width = encoder.model_version, encoder.width

    def encode(self, token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        self.now += self.seconds_per_token * sum(map(len, token_ids))
        return self.encoder.encode(token_ids)

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("tokens_per_second", "milliseconds", "expected"), [(40_000, 100, 4000), (33_600, 60, 2016)])
def test_the_pass_budget_is_milliseconds_turned_into_tokens(
    tokens_per_second: int, milliseconds: int, expected: int
) -> None:
    loaded = model()
    loaded.encoder = clock = Clock(loaded.encoder, 1 / tokens_per_second)

    warm_up(loaded, milliseconds / 1000, clock)

    assert loaded.pass_tokens == pytest.approx(expected, rel=0.01)
    assert loaded.tokens_per_second == pytest.approx(tokens_per_second, rel=0.01)


class Leaking(Clock):
    """Mixes the texts of a batch, as decoders do behind a mask of ones."""

    def encode(self, token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        vectors = super().encode(token_ids)
        return vectors + 0.5 * vectors.mean(axis=0) * (len(vectors) > 1)


class Broken(Clock):
    def encode(self, token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        return np.full((len(token_ids), self.width), np.nan, np.float32)


class Narrow(Clock):
    def encode(self, token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        return super().encode(token_ids)[:, :-1]


@pytest.mark.parametrize(
    ("kind", "says"), [(Leaking, "leak"), (Broken, "not finite"), (Narrow, "its manifest says 32")]
)
def test_a_model_that_is_wrong_is_not_served(kind: type[Clock], says: str) -> None:
    loaded = model()
    loaded.encoder = kind(loaded.encoder, 1e-6)

    with pytest.raises(TerminalEnvironmentError, match=says):
        warm_up(loaded, 0.1)


def test_a_version_is_found_by_alias_by_name_and_by_default() -> None:
    first, second = model(), model("encoder.revision=b")
    shelf = Shelf({"current": first, "next": second})

    assert [shelf.find(name) for name in ("", "current", first.model_version)] == [first] * 3
    assert [shelf.find(name) for name in ("next", second.model_version)] == [second] * 2
    shelf.swap({"current": second})
    assert shelf.find("") is second
    with pytest.raises(RefusedError, match=second.model_version) as refused:
        shelf.find(first.model_version)
    assert refused.value.code is Code.FAILED_PRECONDITION


def test_a_full_pass_corrects_the_measured_speed_and_a_small_one_does_not() -> None:
    loaded = replace(model(), pass_tokens=1000, tokens_per_second=10_000.0)

    loaded.learn_speed(100, 0.1, on_one_core=False)
    assert loaded.tokens_per_second == 10_000.0
    loaded.learn_speed(1000, 1.0, on_one_core=False)
    assert loaded.tokens_per_second == pytest.approx(8200.0)
    assert loaded.pass_tokens == 820  # still 100 ms


def test_a_pass_on_one_of_two_cores_has_half_of_the_tokens() -> None:
    loaded = replace(model(), encoder=SimpleNamespace(side_by_side=2), tokens_per_second=10_000.0)

    loaded.learn_speed(1000, 0.2, on_one_core=True)  # both cores together: 10,000 tokens a second
    assert loaded.tokens_per_second == pytest.approx(10_000.0)
    assert loaded.pass_tokens == 500


def test_a_damaged_model_stops_the_start_with_a_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(make_folder(tmp_path / "whole"), folder)
    (folder / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0not json")
    settings = settings_with("encoder.kind=folder", f"encoder.path={folder}", "encoder.width=null")

    with pytest.raises(TerminalEnvironmentError, match="Copy it anew"):
        open_model(specs_of(settings)["current"])
