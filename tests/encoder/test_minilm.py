"""The packaged model through our own forward pass, held to transformers' forward of one text at a time."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray

from jude.encoder import Encoder, EncoderSpec, Tokeniser, open_encoder, open_tokeniser
from jude.encoder.made_of import made_of
from jude.encoder.packaged import find_model

SPEC = EncoderSpec("all-minilm-l6-v2", threads=1)
SAMPLE = Path(__file__).parents[2] / "data" / "sample" / "0001-snapshot.jsonl.gz"
LENGTHS = (1, 2, 3, 4, 7, 16, 17, 33, 64, 100, 100, 129, 200, 255, 256, 257, 400)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return open_encoder(SPEC)


@pytest.fixture(scope="module")
def tokeniser() -> Tokeniser:
    return open_tokeniser(SPEC)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Long texts of the sample data: the columns of its first rows, joined."""
    with gzip.open(SAMPLE, "rt") as lines:
        rows = [orjson.loads(line)["value"]["after"] for line in lines]
    joined = (" ".join(str(value) for value in row.values() if value) for row in rows)
    return sorted(joined, key=len, reverse=True)[: len(LENGTHS)]


@pytest.fixture(scope="module")
def inputs(texts: list[str]) -> list[list[int]]:
    """Real texts cut to these many tokens; [CLS] and [SEP] included from 2 on."""
    from tokenizers import Tokenizer

    plain = Tokenizer.from_file(str(find_model(SPEC.kind).tokeniser))
    plain.no_padding()
    plain.no_truncation()
    whole = [plain.encode(text).ids for text in texts]
    cut = [[*ids[: length - 1], 102] if length > 1 else ids[:1] for ids, length in zip(whole, LENGTHS, strict=True)]
    assert tuple(map(len, cut)) == LENGTHS
    return cut


def cosines(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    a64, b64 = a.astype(np.float64), b.astype(np.float64)
    return (a64 * b64).sum(1) / np.linalg.norm(a64, axis=1) / np.linalg.norm(b64, axis=1)


def reference(inputs: list[list[int]]) -> NDArray[np.float32]:
    """transformers as its documentation says it: one text, eager attention, mean over tokens, unit norm."""
    import torch
    from transformers import BertModel

    folder = find_model(SPEC.kind).folder
    model: Any = BertModel.from_pretrained(
        folder, attn_implementation="eager", local_files_only=True, dtype=torch.float32
    ).eval()
    with torch.no_grad():
        hidden = [model(input_ids=torch.tensor([ids])).last_hidden_state[0].mean(0) for ids in inputs]
        vectors: NDArray[np.float32] = torch.nn.functional.normalize(torch.stack(hidden), dim=1).numpy()
    return vectors


def test_vectors_equal_those_of_transformers(encoder: Encoder, inputs: list[list[int]]) -> None:
    vectors = encoder.encode(inputs)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(inputs), encoder.width)
    assert cosines(vectors, reference(inputs)).min() >= 0.999999
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_a_text_alone_has_the_vector_that_it_has_in_company(encoder: Encoder, inputs: list[list[int]]) -> None:
    alone = np.concatenate([encoder.encode([ids]) for ids in inputs])
    assert cosines(encoder.encode(inputs), alone).min() >= 0.9999
    shuffled = [5, 3, 16, 0, 9, 10, 1]
    assert cosines(encoder.encode([inputs[n] for n in shuffled]), alone[shuffled]).min() >= 0.9999


def test_the_size_of_a_pass_does_not_matter(inputs: list[list[int]], encoder: Encoder) -> None:
    from jude.encoder.local import LocalEncoder

    small = LocalEncoder("v", made_of(SPEC), batch_tokens=64)
    assert cosines(small.encode(inputs), encoder.encode(inputs)).min() >= 0.9999


def test_no_inputs_give_no_rows(encoder: Encoder) -> None:
    assert encoder.encode([]).shape == (0, 384)


@pytest.mark.parametrize(
    "unreadable", [[], [101] * 513, [101, 30522, 102], [101, -1, 102]], ids=["none", "long", "id", "-1"]
)
def test_an_input_that_the_model_cannot_read_is_a_row_of_nan(encoder: Encoder, unreadable: list[int]) -> None:
    vectors = encoder.encode([[101, 7592, 102], unreadable, [101, 7592, 102]])
    assert np.isnan(vectors).all(axis=1).tolist() == [False, True, False]
    np.testing.assert_array_equal(vectors[0], vectors[2])


def test_like_titles_are_closer_than_unlike_ones(encoder: Encoder, tokeniser: Tokeniser) -> None:
    titles = [
        "Registered Nurse, ICU",
        "Staff nurse intensive care",
        "Senior Java developer",
        "Software engineer (Java)",
    ]
    vectors = encoder.encode([i.token_ids for i in tokeniser.inputs("job", titles)])
    scores = vectors @ vectors.T
    assert scores[0, 1] > 0.6 > 0.3 > scores[0, 2]
    assert scores[2, 3] > 0.6 > 0.3 > scores[1, 3]


def test_tokenising_is_that_of_the_reference(tokeniser: Tokeniser, texts: list[str]) -> None:
    import transformers

    reference = transformers.AutoTokenizer.from_pretrained(find_model(SPEC.kind).folder, local_files_only=True)
    texts = [
        *texts,
        "",
        "Krankenpfleger (m/w/d) für Zürich",
        "東京 エンジニア",
        "x" * 300,
        "[SEP] literally",
        "a\x00b\u200f c",
    ]
    expected = reference(texts, truncation=True, max_length=256)["input_ids"]
    assert [list(i.token_ids) for i in tokeniser.inputs("job", texts)] == expected


def test_truncation_is_reported_at_the_very_token(tokeniser: Tokeniser) -> None:
    """`nurse` is one token; [CLS] and [SEP] take two of 256."""
    made = tokeniser.inputs("job", ["nurse " * n for n in (0, 1, 253, 254, 255, 5_000)])
    assert [(len(i.token_ids), i.truncated) for i in made] == [
        (2, False),
        (3, False),
        (255, False),
        (256, False),
        (256, True),
        (256, True),
    ]
    assert made[3].input_hash == made[4].input_hash == made[5].input_hash != made[2].input_hash


@pytest.mark.parametrize(
    "text",
    [
        "nurse " * 20_000,
        "x" * 100_000,
        ("y" * 3_000 + " ") * 300,
        "\u200b " * 50_000 + "nurse",
        "é " * 30_000,
        "a" + " " * 9_999 + "b",
    ],
    ids=["words", "one word", "long words", "words of no token", "accents", "a gap"],
)
def test_only_the_head_of_a_long_text_is_read_and_nobody_can_tell(tokeniser: Tokeniser, text: str) -> None:
    from tokenizers import Tokenizer

    whole = Tokenizer.from_file(str(find_model(SPEC.kind).tokeniser))
    whole.no_padding()
    whole.enable_truncation(256)
    expected = whole.encode(text)
    [made] = tokeniser.inputs("job", [text])
    assert (list(made.token_ids), made.truncated) == (expected.ids, bool(expected.overflowing))


def test_the_prompt_is_read_before_the_text() -> None:
    tokeniser = open_tokeniser(EncoderSpec("all-minilm-l6-v2", prompts={"job": "nurse ", "member": ""}))
    job, member = tokeniser.inputs("job", ["x"])[0], tokeniser.inputs("member", ["x"])[0]
    assert job.token_ids == (101, 6821, 1060, 102)
    assert member.token_ids == (101, 1060, 102)


def test_tokeniser_and_encoder_have_one_version(encoder: Encoder, tokeniser: Tokeniser) -> None:
    assert encoder.model_version == tokeniser.model_version
