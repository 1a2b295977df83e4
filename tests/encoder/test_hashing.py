"""The hashing encoder's numbers are pinned: other machines, versions and batches must give the same."""

from __future__ import annotations

import numpy as np
import pytest

from jude.encoder import EncoderSpec, open_encoder, open_tokeniser
from jude.encoder.hashing import HashingEncoder, HashingTokeniser
from jude.errors import TerminalSettingsError

SPEC = EncoderSpec("hashing", width=4, prompts={"job": "a job: "})


def test_ids_and_hashes_are_pinned() -> None:
    tokeniser = open_tokeniser(SPEC)
    [made] = tokeniser.inputs("job", ["Staff nurse"])
    assert tokeniser.model_version == "hashing-3d76b7226188"
    assert made.token_ids == (715526629, 811137349, 959976403, 1323078963)
    assert made.input_hash == "965439ec6f9707e571e28212862ff702"


def test_vectors_are_pinned() -> None:
    vectors = HashingEncoder("v", width=4).encode([(1, 2, 3), (1, 3, 2), (), (7,)])
    expected = [
        [-0.05639195, -0.07719292, -0.96603268, -0.24008772],
        [0.01018398, 0.11987481, -0.98925740, -0.08304255],
        [0.25379971, -0.55539078, 0.01644678, 0.79174256],
        [0.19484055, 0.05017864, -0.01001636, 0.97949934],
    ]
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected, atol=1e-7)


def test_a_vector_does_not_depend_on_its_company() -> None:
    encoder = HashingEncoder("v")
    inputs = [tuple(range(n)) for n in (0, 1, 5, 300)]
    together = encoder.encode(inputs)
    alone = np.concatenate([encoder.encode([ids]) for ids in inputs])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)


def test_no_inputs_give_no_rows() -> None:
    assert HashingEncoder("v", width=8).encode([]).shape == (0, 8)


def test_texts_that_share_words_are_closer() -> None:
    texts = ["registered nurse night shift", "registered nurse day shift", "senior java developer remote"]
    inputs = HashingTokeniser("v").inputs("job", texts)
    nurse, other_nurse, developer = HashingEncoder("v", width=256).encode([i.token_ids for i in inputs])
    assert nurse @ other_nurse > 0.5 > nurse @ developer


@pytest.mark.parametrize(
    ("text", "tokens", "truncated"),
    [("", 0, False), ("  a \n b ", 2, False), ("a b c", 3, False), ("a b c  ", 3, False), ("a b c d", 3, True)],
)
def test_truncation_is_reported(text: str, tokens: int, truncated: bool) -> None:
    [made] = HashingTokeniser("v", max_tokens=3).inputs("job", [text])
    assert (len(made.token_ids), made.truncated) == (tokens, truncated)


def test_an_edit_past_the_truncation_point_is_the_same_input() -> None:
    before, after, edited = HashingTokeniser("v", max_tokens=2).inputs("job", ["a b c", "a b d", "a c c"])
    assert before.input_hash == after.input_hash != edited.input_hash


def test_the_prompt_is_read_and_hashed() -> None:
    tokeniser = HashingTokeniser("v", prompts={"job": "job ", "resume": "", "member": "job "})
    job, resume, member = (tokeniser.inputs(entity_type, ["x"])[0] for entity_type in ("job", "resume", "member"))
    assert (len(job.token_ids), len(resume.token_ids)) == (2, 1)
    assert job.input_hash == member.input_hash != resume.input_hash


def test_an_entity_type_without_a_prompt_is_refused() -> None:
    with pytest.raises(TerminalSettingsError, match="no prompt for the entity type 'company'; it knows job"):
        open_tokeniser(SPEC).inputs("company", ["x"])


def test_tokeniser_and_encoder_of_a_spec_have_one_version() -> None:
    assert open_tokeniser(SPEC).model_version == open_encoder(SPEC).model_version
    assert open_encoder(SPEC).width == 4
