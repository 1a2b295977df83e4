"""A pipeline over test doubles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from jude.encoder.hashing import HashingEncoder, HashingTokeniser
from jude.encoder.resilient import EncodeResult
from jude.stream.pipeline import Pipeline
from tests.stories import NOW, entities


def make_pipeline(tables: Any, online: Any, clock: Callable[[], datetime] = lambda: NOW, **more: Any) -> Pipeline:
    tokeniser = HashingTokeniser("hashing-test")
    encoder = HashingEncoder("hashing-test", width=8)

    def encode(inputs: Mapping[str, Sequence[int]]) -> EncodeResult:
        return EncodeResult(dict(zip(inputs, encoder.encode(list(inputs.values())), strict=True)), {})

    return Pipeline(
        **{
            "entities": entities(), "tokeniser": tokeniser, "encode": encode, "width": encoder.width,
            "tables": tables, "online": online, "clock": clock, **more,
        }
    )  # fmt: skip
