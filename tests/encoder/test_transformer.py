"""Models by transformers: each text in a pack, or padded beside longer ones, has the states that it has alone."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch

from jude.encoder.transformer import PACKED, open_transformer
from jude.errors import TerminalEnvironmentError
from tests.encoder.tiny import DECODERS, FAMILIES, build, inputs


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {family: build(family, tmp_path_factory.mktemp(family)) for family in FAMILIES}


def alone(model: Any, ids: list[int], **more: Any) -> Any:
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids]), **more).last_hidden_state[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_no_text_sees_another(folders: dict[str, Path], family: str) -> None:
    opened = open_transformer(folders[family])
    lengths = torch.tensor([len(ids) for ids in inputs()])
    with torch.no_grad():
        states = opened.states(torch.tensor(list(chain(*inputs()))), lengths)
    expected = torch.cat([alone(opened.model, ids) for ids in inputs()])
    torch.testing.assert_close(states, expected, atol=2e-5, rtol=1e-4)


def test_positions_keep_their_float32_beside_weights_in_bfloat16(folders: dict[str, Path]) -> None:
    """A frequency of 8 bits is a radian off after some hundred tokens."""
    exact, halves = (open_transformer(folders["qwen3"], dtype=dtype).model for dtype in (torch.float32, torch.bfloat16))
    assert {weight.dtype for weight in halves.parameters()} == {torch.bfloat16}
    frequencies = [dict(model.named_buffers())["rotary_emb.inv_freq"] for model in (exact, halves)]
    torch.testing.assert_close(*frequencies, rtol=0, atol=0)


@pytest.mark.parametrize("packs", [True, False])
@pytest.mark.parametrize("family", ["qwen3", "gemma"])
def test_a_bidirectional_decoder_reads_all_of_a_text_and_no_other(
    folders: dict[str, Path], family: str, packs: bool
) -> None:
    opened = replace(open_transformer(folders[family], causal=False), packs=packs)
    lengths = torch.tensor([len(ids) for ids in inputs()])
    with torch.no_grad():
        states = opened.states(torch.tensor(list(chain(*inputs()))), lengths)
    all_seen = [torch.ones(1, 1, len(ids), len(ids), dtype=torch.bool) for ids in inputs()]
    expected = [alone(opened.model, i, attention_mask=mask) for i, mask in zip(inputs(), all_seen, strict=True)]
    torch.testing.assert_close(states, torch.cat(expected), atol=2e-5, rtol=1e-4)
    assert (states[-1] - alone(opened.model, inputs()[-1])[-1]).abs().max() > 1e-3


def test_the_facts_of_an_open_model(folders: dict[str, Path]) -> None:
    assert set(DECODERS) == PACKED
    opened = open_transformer(folders["qwen3"], dtype=torch.bfloat16)
    assert (opened.family, opened.causal, opened.packs) == ("qwen3", True, True)
    assert {p.dtype for p in opened.model.parameters()} == {torch.bfloat16}
    assert not open_transformer(folders["bert"]).causal


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TerminalEnvironmentError, match="cannot be read as a model"):
        open_transformer(tmp_path)
