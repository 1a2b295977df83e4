"""Every family trains: the vectors of the model alone, an adapter that moves, and the pipeline's encoder reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from jude.encoder import EncoderSpec, open_encoder
from jude.encoder.pooling import pool
from jude.encoder.transformer import open_transformer
from jude.errors import TerminalTrainingError
from jude.training.base import find_base, open_model
from jude.training.inference import encode_ids
from jude.training.liger import apply_liger, patched_modules
from jude.training.settings import LoraSettings, ModelSettings
from jude.training.towers import Towers
from tests.encoder.tiny import build, inputs

CPU = torch.device("cpu")
IDS = [np.asarray(ids, np.int32) for ids in inputs()]


def towers_of(folder: Path, roles: Literal["qkv", "all"] = "qkv", **model: Any) -> Towers:
    settings = ModelSettings(base=str(folder), max_tokens=64, device="cpu", **model)
    torch.manual_seed(0)
    lora = LoraSettings(rank=2, alpha=4, roles=roles)
    return Towers(open_model(find_base(str(folder)), settings, CPU), settings, lora)


def alone(folder: Path, *, causal: bool | None = None) -> torch.Tensor:
    """Each text by itself through the stock model."""
    opened = open_transformer(folder, causal=causal)
    with torch.no_grad():
        states = [opened.states(torch.from_numpy(ids).long(), torch.tensor([len(ids)])) for ids in IDS]
    return torch.cat([pool(of_text, torch.tensor([len(of_text)]), "mean") for of_text in states])


@pytest.mark.parametrize("family", ["xlm-roberta", "mpnet", "llama", "gemma"])
def test_a_new_adapter_changes_nothing_and_a_trained_one_serves(family: str, tmp_path: Path) -> None:
    folder = build(family, tmp_path / "model", pooling="mean")
    towers = towers_of(folder)
    expected = alone(folder)
    torch.testing.assert_close(towers(IDS), expected, rtol=1e-4, atol=2e-5)
    towers(IDS).pow(3).sum().backward()
    trained = [p for p in towers.parameters() if p.requires_grad]
    moved = [p for p in trained if p.grad is not None and p.grad.abs().max() > 0]
    assert len(moved) == len(trained) / 2  # A moves from the second update on: B begins at zero
    torch.optim.SGD(trained, lr=0.1).step()
    towers.adapted.save_pretrained(tmp_path / "adapter")
    spec = EncoderSpec(kind="folder", path=str(folder), adapter=str(tmp_path / "adapter"), max_tokens=64)
    served = open_encoder(spec).encode([ids.tolist() for ids in IDS])
    assert float((served * encode_ids(towers, IDS)).sum(axis=1).min()) > 0.99999


def test_a_decoder_reads_in_both_directions_where_asked(tmp_path: Path) -> None:
    folder = build("qwen3", tmp_path, pooling="mean")
    both, causal = towers_of(folder, mask="bidirectional")(IDS), towers_of(folder)(IDS)
    torch.testing.assert_close(both, alone(folder, causal=False), rtol=1e-4, atol=2e-5)
    assert (both - causal).abs().max() > 1e-3


def test_full_checkpointing_of_the_stock_pass_computes_every_layer_again(tmp_path: Path) -> None:
    settings = ModelSettings(base=str(build("llama", tmp_path, pooling="mean")), max_tokens=64, checkpointing="full")
    towers = Towers(open_model(find_base(settings.base), settings, CPU), settings, None)
    assert towers._packed is None
    called, layers = [], list(towers.inner.get_submodule("layers").children())
    for layer in layers:
        layer.get_submodule("mlp").register_forward_pre_hook(lambda *_: called.append(1))
    towers(IDS).sum().backward()
    assert len(called) == 2 * len(layers)


def test_a_family_that_cannot_be_checkpointed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TerminalTrainingError, match=r"Set model\.checkpointing: none"):
        towers_of(build("mpnet", tmp_path, pooling="mean"), checkpointing="full")


@pytest.mark.parametrize("family", ["xlm-roberta", "mpnet"])
def test_positions_that_lie_before_the_first_token_are_not_read(family: str, tmp_path: Path) -> None:
    """Of 70 positions these families count from behind the padding's."""
    base = find_base(str(build(family, tmp_path, pooling="mean")))
    settings = ModelSettings(base=base.name, max_tokens=68)
    towers = Towers(open_model(base, settings, CPU), settings, LoraSettings(rank=2))
    assert towers([np.full(68, 5, np.int32)]).isfinite().all()
    with pytest.raises(TerminalTrainingError, match="reads 68 at most"):
        open_model(base, ModelSettings(base=base.name, max_tokens=69), CPU)


@pytest.mark.parametrize(
    ("family", "checkpointing"), [("llama", "none"), ("llama", "selective"), ("qwen3", "full"), ("gemma", "none")]
)
def test_a_packed_decoder_has_the_gradients_of_the_padded_one(family: str, checkpointing: str, tmp_path: Path) -> None:
    folder = build(family, tmp_path, pooling="mean")
    packed = gradients(towers_of(folder, roles="all", checkpointing=checkpointing), packed=True)
    padded = gradients(towers_of(folder, roles="all"), packed=False)
    assert padded.norm() > 0
    torch.testing.assert_close(packed, padded, rtol=1e-3, atol=1e-5 * float(padded.abs().max()))


def gradients(towers: Towers, *, packed: bool) -> torch.Tensor:
    assert towers._packed is not None
    if not packed:
        towers._packed = None
    torch.manual_seed(1)
    for name, parameter in towers.named_parameters():
        if "lora_B" in name:  # they start at zero, which would hide half of every gradient
            torch.nn.init.normal_(parameter, std=0.2)
    towers(IDS).pow(3).sum().backward()
    return torch.cat([p.grad.flatten() for p in towers.parameters() if p.grad is not None])


def test_a_model_without_a_padding_token_trains(tmp_path: Path) -> None:
    """Masked, padding may be any id; texts without an end token are pooled by their length."""
    folder = build("llama", tmp_path, pooling="last", pad_token_id=None, eos_token_id=None)
    towers = towers_of(folder, pooling="last")
    together, one_by_one = towers(IDS), torch.cat([towers([ids]) for ids in IDS])
    torch.testing.assert_close(together, one_by_one, rtol=1e-4, atol=2e-5)


def test_selective_checkpointing_is_refused_where_it_is_not_built(tmp_path: Path) -> None:
    with pytest.raises(TerminalTrainingError, match="set none or full"):
        towers_of(build("mpnet", tmp_path), checkpointing="selective")


def test_liger_is_refused_where_it_could_not_run(tmp_path: Path) -> None:
    model = open_model(find_base(str(build("llama", tmp_path))), ModelSettings(max_tokens=64), CPU)
    with pytest.raises(TerminalTrainingError, match="CUDA only"):
        apply_liger(model, CPU)


@pytest.mark.gpu
def test_liger_is_in_use_and_equal_to_eager(tmp_path: Path) -> None:
    pytest.importorskip("liger_kernel", reason="liger-kernel is not installed: it runs on GPUs alone")
    folder = build("llama", tmp_path, pooling="mean", rope_scaling=None)
    eager = alone(folder)  # before: Liger patches the rotation for the whole process
    device = torch.device("cuda")
    settings = ModelSettings(base=str(folder), max_tokens=64, dtype="float32", liger=True)
    towers = Towers(open_model(find_base(str(folder)), settings, device), settings, LoraSettings(rank=2, alpha=4))
    assert patched_modules(towers.inner) >= 2 * 3 + 1  # two norms a layer, one at the end
    torch.testing.assert_close(towers(IDS).cpu(), eager, rtol=1e-3, atol=1e-3)
