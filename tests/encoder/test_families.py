"""Every family through the encoder, held to transformers' own forward of one text at a time in float32."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from jude.encoder import EncoderSpec, forward, open_encoder, open_tokeniser
from jude.encoder.forward import _ByTransformers, open_forward
from jude.encoder.importing import import_model
from jude.encoder.kernels import cpu_is_faster_in_bfloat16
from jude.encoder.local import LocalEncoder
from jude.encoder.made_of import made_of
from jude.errors import TerminalEnvironmentError, TerminalSettingsError
from tests.encoder.tiny import DECODERS, FAMILIES, WIDTH, build, inputs

POOLINGS = ("mean", "last", "cls", "weighted_mean")
CASES = [
    *((family, pooling, None) for family in FAMILIES for pooling in POOLINGS),
    *((family, pooling, "bidirectional") for family in ("qwen3", "gemma") for pooling in POOLINGS),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {family: build(family, tmp_path_factory.mktemp(family)) for family in FAMILIES}


def reference(folder: Path, ids: list[int], pooling: str, mask: str | None) -> NDArray[np.float32]:
    """One text, no packing, no padding: what the pooled vector is by definition."""
    from transformers import AutoModel

    model: Any = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    seen = {"attention_mask": torch.ones(1, 1, len(ids), len(ids), dtype=torch.bool)} if mask else {}
    with torch.no_grad():
        states = model(input_ids=torch.tensor([ids]), **seen).last_hidden_state[0].numpy()
    weights = {
        "mean": np.ones(len(ids)), "last": np.eye(len(ids))[-1], "cls": np.eye(len(ids))[0],
        "weighted_mean": np.arange(1, len(ids) + 1),
    }[pooling]  # fmt: skip
    vector = weights @ states / weights.sum()
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def cosines(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    a64, b64 = a.astype(np.float64), b.astype(np.float64)
    return (a64 * b64).sum(1) / np.linalg.norm(a64, axis=1) / np.linalg.norm(b64, axis=1)


def spec(folder: Path, **more: Any) -> EncoderSpec:
    return EncoderSpec("folder", path=str(folder), threads=1, **more)


@pytest.mark.parametrize(("family", "pooling", "mask"), CASES, ids=str)
def test_a_vector_is_that_of_the_text_alone(folders: Any, family: str, pooling: str, mask: str | None) -> None:
    encoder = open_encoder(spec(folders[family], pooling=pooling, mask=mask))
    texts = [inputs()[n] for n in (0, 4, 10)]
    expected = np.stack([reference(folders[family], ids, pooling, mask) for ids in texts])
    together = encoder.encode(inputs())
    assert cosines(together[[0, 4, 10]], expected).min() >= 0.999999
    alone = np.concatenate([encoder.encode([ids]) for ids in inputs()])
    assert cosines(together, alone).min() >= 0.9999


def test_only_a_family_without_its_own_forward_goes_by_transformers(folders: dict[str, Path]) -> None:
    forwards = {family: open_forward(made_of(spec(folders[family])), "cpu") for family in FAMILIES}
    by_transformers = {family for family, forward in forwards.items() if isinstance(forward, _ByTransformers)}
    assert by_transformers == {"mpnet"}


@pytest.mark.parametrize("family", ["bert", *DECODERS])
def test_bfloat16_stays_near_float32(folders: dict[str, Path], family: str) -> None:
    exact = open_encoder(spec(folders[family])).encode(inputs())
    halves = open_encoder(spec(folders[family], compute="bfloat16"))
    assert halves.model_version != open_encoder(spec(folders[family])).model_version
    assert cosines(halves.encode(inputs()), exact).min() >= 0.998  # random weights forgive less than trained ones


@pytest.mark.parametrize("faster", [True, False])
@pytest.mark.parametrize("family", ["bert", *DECODERS])
def test_rounded_weights_stay_near_float32_whichever_type_is_computed_with(
    folders: dict[str, Path], family: str, faster: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = made_of(spec(folders[family], compute="bfloat16"))
    monkeypatch.setattr(forward, "cpu_is_faster_in_bfloat16", lambda: faster)
    exact = open_encoder(spec(folders[family])).encode(inputs())
    assert cosines(LocalEncoder("v", made, threads=1).encode(inputs()), exact).min() >= 0.998


@pytest.mark.parametrize(
    ("vendor", "flags", "faster"),
    [
        ("AuthenticAMD", "avx512f avx512_bf16", True),
        ("GenuineIntel", "avx512f avx512_bf16 amx_tile amx_bf16", True),
        ("GenuineIntel", "avx512f avx512_bf16", False),  # AMX is there, its hypervisor hides it
        ("AuthenticAMD", "avx2", False),
    ],
)
def test_bfloat16_is_computed_with_where_it_saves_time(tmp_path: Path, vendor: str, flags: str, faster: bool) -> None:
    (tmp_path / "cpuinfo").write_text(f"vendor_id : {vendor}\nflags : fpu {flags}\n")
    assert cpu_is_faster_in_bfloat16(tmp_path / "cpuinfo") is faster
    assert not cpu_is_faster_in_bfloat16(tmp_path / "absent")


def test_a_window_narrower_than_a_text_goes_by_transformers(tmp_path: Path) -> None:
    folder = build("mistral", tmp_path, sliding_window=8)
    made = made_of(spec(folder))
    assert isinstance(open_forward(made, "cpu"), _ByTransformers)


def test_a_gate_that_we_do_not_have_goes_by_transformers(tmp_path: Path) -> None:
    folder = build("llama", tmp_path, hidden_act="relu")
    ids = inputs()[6]
    expected = reference(folder, ids, "mean", None)
    np.testing.assert_allclose(open_encoder(spec(folder, pooling="mean")).encode([ids])[0], expected, atol=1e-5)


def test_a_family_that_calls_its_width_otherwise_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"dim": WIDTH, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": 70}
    monkeypatch.setitem(FAMILIES, "distilbert", sizes)
    folder = build("distilbert", tmp_path / "model")
    ids = inputs()[6]
    expected = reference(folder, ids, "mean", None)
    np.testing.assert_allclose(open_encoder(spec(folder)).encode([ids])[0], expected, atol=1e-5)
    assert import_model(folder, tmp_path / "new").width == WIDTH


def test_an_encoder_with_a_decoder_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(folders["mpnet"], tmp_path / "t5")
    config = {"model_type": "t5", "d_model": 32, "is_encoder_decoder": True}
    (tmp_path / "t5" / "config.json").write_text(json.dumps(config))
    with pytest.raises(TerminalEnvironmentError, match="is t5, an encoder with a decoder"):
        open_tokeniser(spec(tmp_path / "t5"))


def test_a_bare_folder_reads_no_more_tokens_than_it_has_positions_for(tmp_path: Path) -> None:
    """MPNet's positions begin behind the padding's, as RoBERTa's do."""
    folder = build("mpnet", tmp_path)
    (folder / "sentence_bert_config.json").unlink()
    (made,) = open_tokeniser(spec(folder)).inputs("", ["w1 " * 100])
    assert len(made.token_ids) == 68
    assert np.isfinite(open_encoder(spec(folder)).encode([made.token_ids])).all()


def test_a_mask_that_a_family_cannot_have_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(TerminalSettingsError, match=r"encoder.mask is causal, which bert here cannot be: gemma, llama"):
        open_encoder(spec(folders["bert"], mask="causal"))


def test_without_instructions_for_bfloat16_the_weights_are_rounded_all_the_same(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "cpu_is_faster_in_bfloat16", lambda: False)
    for family in ("bert", "mpnet"):
        rounded = open_encoder(spec(folders[family], compute="bfloat16", revision="no instructions"))
        whole = open_encoder(spec(folders[family]))
        assert 1e-5 < np.abs(rounded.encode(inputs()) - whole.encode(inputs())).max() < 0.05


def test_a_trained_width_is_cut_and_normalised_again(folders: dict[str, Path]) -> None:
    (folders["qwen2"] / "jude.json").write_text('{"widths": [8, 16], "name": "matryoshka"}')
    whole, cut = (open_encoder(spec(folders["qwen2"], width=width)) for width in (None, 8))
    assert (whole.width, cut.width) == (WIDTH, 8)
    assert cut.model_version.startswith("matryoshka-")
    vectors = whole.encode(inputs())[:, :8]
    np.testing.assert_allclose(cut.encode(inputs()), vectors / np.linalg.norm(vectors, axis=1)[:, None], atol=1e-6)


def test_without_normalising_the_length_of_a_vector_is_kept(folders: dict[str, Path]) -> None:
    vectors = open_encoder(spec(folders["bert"], normalise=False)).encode(inputs())
    assert np.ptp(np.linalg.norm(vectors, axis=1)) > 0.01


def test_two_lanes_make_what_one_makes(folders: dict[str, Path]) -> None:
    from jude.encoder.local import LocalEncoder

    many = inputs() * 12
    one = LocalEncoder("v", made_of(spec(folders["llama"])), threads=1, batch_tokens=256)
    two = LocalEncoder("v", made_of(spec(folders["llama"])), threads=2, batch_tokens=256)
    assert cosines(two.encode(many), one.encode(many)).min() >= 0.999999
    assert two.side_by_side == 2
    assert cosines(two.encode_on_one_core(many), one.encode(many)).min() >= 0.999999


def test_only_padded_families_report_padding(folders: Any) -> None:
    for family, pads in (("bert", False), ("mpnet", True)):
        encoder: Any = open_encoder(spec(folders[family]))
        encoder.encode(inputs())
        assert (encoder.padding_share > 0) is pads
