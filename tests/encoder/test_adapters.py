"""LoRA: what we merge ourselves is what peft computes, beside the weights or merged into them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from numpy.typing import NDArray

from jude.encoder import EncoderSpec, open_encoder, open_tokeniser
from jude.encoder.importing import import_model
from jude.encoder.transformer import open_transformer
from jude.errors import TerminalEnvironmentError
from tests.encoder.tiny import build, inputs


@pytest.fixture(scope="module", params=["bert", "qwen3"])
def trained(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model and an adapter that changes it much."""
    from transformers import AutoModel

    folder = build(request.param, tmp_path_factory.mktemp("model"))
    targets = ["query", "value"] if request.param == "bert" else ["q_proj", "v_proj", "down_proj"]
    config = peft.LoraConfig(r=4, lora_alpha=8, use_rslora=request.param == "bert", target_modules=targets)
    adapted = peft.get_peft_model(AutoModel.from_pretrained(folder, dtype=torch.float32), config)
    torch.manual_seed(3)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.3)
    adapter = tmp_path_factory.mktemp("adapter")
    adapted.save_pretrained(adapter)
    return folder, adapter


def vectors(folder: Path, **more: Any) -> NDArray[np.float32]:
    return open_encoder(EncoderSpec("folder", path=str(folder), pooling="mean", threads=1, **more)).encode(inputs())


@pytest.mark.parametrize("merge", [True, False])
def test_a_merged_adapter_is_the_adapter(trained: tuple[Path, Path], merge: bool) -> None:
    folder, adapter = trained
    opened = open_transformer(folder, adapter=adapter, merge=merge)
    with torch.no_grad():
        means = [opened.states(torch.tensor(ids), torch.tensor([len(ids)])).mean(0) for ids in inputs()]
    expected = torch.nn.functional.normalize(torch.stack(means), dim=1).numpy()
    np.testing.assert_allclose(vectors(folder, adapter=str(adapter)), expected, atol=1e-5)
    assert np.abs(vectors(folder) - expected).max() > 0.01


def test_an_adapter_makes_another_version(trained: tuple[Path, Path]) -> None:
    folder, adapter = trained
    bare, adapted = (EncoderSpec("folder", path=str(folder), pooling="mean", adapter=a) for a in (None, str(adapter)))
    assert open_encoder(bare).model_version != open_encoder(adapted).model_version


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("use_dora", True, "use_dora"),
        ("layer_replication", [[0, 2]], "layer_replication"),
        ("alora_invocation_tokens", [5], "alora_invocation_tokens"),
        ("init_lora_weights", "pissa_niter_4", "init_lora_weights pissa_niter_4"),
        ("init_lora_weights", "OLoRA", "init_lora_weights olora"),
    ],
)
def test_an_adapter_that_is_not_plain_lora_is_refused(
    trained: tuple[Path, Path], tmp_path: Path, key: str, value: Any, says: str
) -> None:
    folder, adapter = trained
    for file in adapter.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((adapter / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps({**config, key: value}))
    with pytest.raises(TerminalEnvironmentError, match=f"LORA, {says}; only plain LoRA"):
        vectors(folder, adapter=str(tmp_path))


def test_the_adapter_of_another_model_is_refused(trained: tuple[Path, Path], tmp_path: Path) -> None:
    _, adapter = trained
    other = build("xlm-roberta", tmp_path) if "q_proj" in (adapter / "adapter_config.json").read_text() else None
    other = other or build("llama", tmp_path)
    with pytest.raises(TerminalEnvironmentError, match="is for another model"):
        vectors(other, adapter=str(adapter))


def adapter_of(model: Any, folder: Path, *targets: str) -> Path:
    """Save an adapter that changes much."""
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=list(targets)))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.3)
    adapted.save_pretrained(folder)
    return folder


def test_an_import_merges_all_of_an_adapter_or_is_refused(tmp_path: Path) -> None:
    """peft passes over the names that it does not find: the new folder would be the base, or a part of the adapter."""
    from transformers import AutoModel, AutoModelForCausalLM

    llama, bert = build("llama", tmp_path / "llama"), build("bert", tmp_path / "bert")
    deeper = AutoModel.from_pretrained(build("bert", tmp_path / "deeper", num_hidden_layers=6))
    with_head = adapter_of(AutoModelForCausalLM.from_pretrained(llama), tmp_path / "head", "q_proj")
    with pytest.raises(TerminalEnvironmentError, match=r"is for another model.*with a head"):
        import_model(llama, tmp_path / "new", adapter=with_head)
    of_deeper = adapter_of(deeper, tmp_path / "of_deeper", "query")
    with pytest.raises(TerminalEnvironmentError, match=r"is for another model: .*layer\.3\."):
        import_model(bert, tmp_path / "new", adapter=of_deeper)
    with pytest.raises(TerminalEnvironmentError, match="is no adapter for this model: Target modules"):
        import_model(bert, tmp_path / "new", adapter=with_head)
    assert not (tmp_path / "new").exists()


def test_weights_that_are_not_safetensors_are_not_left_out_of_a_version(tmp_path: Path) -> None:
    """transformers and peft read them: two models would have one version."""
    model, adapter = build("mpnet", tmp_path / "model"), tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    torch.save({}, adapter / "adapter_model.bin")
    with pytest.raises(TerminalEnvironmentError, match=r"adapter_model\.safetensors is missing"):
        open_tokeniser(EncoderSpec("folder", path=str(model), adapter=str(adapter)))
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    with pytest.raises(TerminalEnvironmentError, match=r"/model\.safetensors is missing.*jude model import"):
        open_tokeniser(EncoderSpec("folder", path=str(model)))
