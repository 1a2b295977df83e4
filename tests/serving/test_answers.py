"""What the four methods answer."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest

from jude.encoder import open_encoder, open_tokeniser
from jude.serving.client import AsyncEmbeddingClient, Embeddings, Wanted
from jude.serving.lanes import Lane
from jude.serving.refusal import Code, RefusedError
from tests.serving.running import Running, running, watched

JOB = Wanted(entity_type="job")


def test_a_text_gets_the_vector_and_hash_that_the_pipeline_would_store(up: Running) -> None:
    spec = up.server.shelf.find("").spec
    made = open_tokeniser(spec).inputs("job", ["Nurse in a small hospital"])[0]

    found = up.client().embed("Nurse in a small hospital", JOB)

    assert (found.model_version, found.input_hashes) == (open_tokeniser(spec).model_version, [made.input_hash])
    assert (found.tokens, found.truncated) == ([len(made.token_ids)], [False])
    np.testing.assert_array_equal(found.vectors, open_encoder(spec).encode([made.token_ids]))


def test_token_ids_get_the_same_vector_as_their_text(up: Running) -> None:
    made = open_tokeniser(up.server.shelf.find("").spec).inputs("job", ["Welder"])[0]

    by_text, by_ids = (up.client().embed(content, JOB) for content in ("Welder", made.token_ids))

    assert by_ids.input_hashes == by_text.input_hashes
    np.testing.assert_array_equal(by_ids.vectors, by_text.vectors)


def test_every_item_of_a_list_has_its_own_status(up: Running) -> None:
    found = up.client().embed_batch(["Nurse", " \n", [3, -1], "Welder", "x" * 100_001], JOB)

    assert [error and error.code for error in found.errors] == [
        None, Code.INVALID_ARGUMENT, Code.INVALID_ARGUMENT, None, Code.INVALID_ARGUMENT,
    ]  # fmt: skip
    assert np.isnan(found.vectors).any(axis=1).tolist() == [False, True, True, False, True]
    np.testing.assert_array_equal(found.vectors[3], up.client().embed("Welder", JOB).vectors[0])


def test_a_cut_is_told_and_may_be_forbidden(up: Running) -> None:
    long = "word " * 300

    cut = up.client().embed(long, JOB)
    refused = up.client().embed_batch(["short", long], Wanted(entity_type="job", cut=False)).errors

    assert (cut.truncated, cut.tokens) == ([True], [256])
    assert refused[0] is None
    assert refused[1] is not None
    assert "256" in str(refused[1])


def test_bfloat16_halves_the_bytes_and_rounds(up: Running) -> None:
    exact = up.client().embed("Nurse", JOB).vectors[0]
    rounded = up.client().embed("Nurse", Wanted(entity_type="job", dtype="bfloat16")).vectors[0]

    assert 0 < np.abs(exact - rounded).max() <= 2.0**-8
    assert exact @ rounded / np.linalg.norm(rounded) > 0.9999


def test_a_stream_answers_every_list_and_goes_on_after_a_refused_one(up: Running) -> None:
    lists = [["Nurse"], [], ["Welder", "Baker"], *[[f"text {n}"] for n in range(20)]]

    answers = dict(up.client().embed_stream(lists, JOB))

    assert sorted(answers) == list(range(23))
    assert isinstance(answers[1], RefusedError)
    welder, nurse = answers[2], answers[0]
    assert isinstance(welder, Embeddings)
    assert isinstance(nurse, Embeddings)
    assert welder.vectors.shape == (2, 32)
    np.testing.assert_array_equal(nurse.vectors, up.client().embed("Nurse", JOB).vectors)


def test_the_async_client_gives_the_same(up: Running) -> None:
    async def ask() -> tuple[Embeddings, Embeddings, list[int], int]:
        async with AsyncEmbeddingClient(up.address) as client:
            single, batch = await client.embed("Nurse", JOB), await client.embed_batch(["Nurse"], JOB)
            numbers = [number async for number, _ in client.embed_stream([["a"], ["b"]], JOB)]
            return single, batch, numbers, len(await client.info())

    single, batch, numbers, models = asyncio.run(ask())

    np.testing.assert_array_equal(single.vectors, batch.vectors)
    np.testing.assert_array_equal(single.vectors, up.client().embed("Nurse", JOB).vectors)
    assert (sorted(numbers), models) == ([0, 1], 1)


def test_a_model_describes_itself(up: Running) -> None:
    (info,) = up.client().info()

    assert (info.name, list(info.aliases), info.width, list(info.dimensions)) == ("hashing", ["current"], 32, [32])
    assert (info.max_tokens, json.loads(info.manifest)["weights"]) == (256, "jude-hashing-1")
    assert list(info.entity_types) == ["job", "member", "resume"]
    assert info.pass_tokens >= 64
    assert [i.model_version for i in up.client().info(info.model_version)] == [info.model_version]


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        (Wanted(entity_type="spaceship"), Code.INVALID_ARGUMENT),
        (Wanted(), Code.INVALID_ARGUMENT),  # a text without its entity type
        (Wanted(entity_type="job", dimension=31), Code.INVALID_ARGUMENT),
        (Wanted(entity_type="job", model="hashing-000000000000"), Code.FAILED_PRECONDITION),
    ],
)
def test_what_is_not_offered_is_refused(up: Running, wanted: Wanted, code: Code) -> None:
    with pytest.raises(RefusedError) as refused:
        up.client().embed("Nurse", wanted)

    assert refused.value.code is code


def test_one_input_has_no_vector_and_the_others_of_its_pass_do() -> None:
    with running(opener=watched(nan_at=7, fails_at=8)) as up:
        found = up.client().embed_batch([[1, 2], [7], [3], [8], [4]], JOB)

        assert [error and error.code for error in found.errors] == [None, Code.INTERNAL, None, Code.INTERNAL, None]
        with pytest.raises(RefusedError) as refused:
            up.client().embed([7], JOB)
        assert refused.value.code is Code.INTERNAL
        assert up.client().embed([1, 2], JOB).vectors.tolist() == found.vectors[:1].tolist()
        assert up.metric("nan_items_total") == 3


def test_one_value_for_a_text_whatever_else_is_in_the_batch(up: Running) -> None:
    alone = up.client().embed("Nurse", JOB).vectors[0]
    crowd = up.client().embed_batch([f"text number {n}" for n in range(50)] + ["Nurse"], JOB).vectors[-1]

    np.testing.assert_allclose(alone, crowd, atol=1e-6)


def test_a_vector_is_cut_to_a_width_the_model_was_trained_for_and_normalised_again() -> None:
    with running() as up:
        up.server.shelf.find("").dimensions = (16, 32)

        whole, cut = (up.client().embed("Nurse", Wanted("", "job", dimension)).vectors[0] for dimension in (32, 16))

        assert cut.shape == (16,)
        np.testing.assert_allclose(cut, whole[:16] / np.linalg.norm(whole[:16]), rtol=1e-6)
        np.testing.assert_array_equal(cut, up.client().embed_batch(["Nurse"], Wanted("", "job", 16)).vectors[0])


def test_lanes_may_be_chosen(up: Running) -> None:
    before = up.metric("texts_total", lane="bulk")

    up.client().embed("Nurse", Wanted(entity_type="job", lane=Lane.BULK))

    assert up.metric("texts_total", lane="bulk") == before + 1
