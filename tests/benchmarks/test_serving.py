"""The generator and the model of the serving benchmarks; the figures themselves are taken by `make bench-serving`."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from tokenizers import Tokenizer

from benchmarks.servers.offering import Body, Outcome, offer, over_grpc, over_http, poisson, quantile_ms, summed_up
from benchmarks.servers.small_qwen import make_folder, weights, words
from jude.encoder.model_folder import read_model_folder
from jude.serving.v1 import embedding_pb2 as pb
from tests.serving.running import running

BODY = Body("text", "/x", b"", 10)


def test_arrivals_have_the_rate_and_are_the_same_for_the_same_seed() -> None:
    plan = poisson([BODY], 100.0, 50.0, seed=3)

    assert 4600 < len(plan) < 5400
    assert plan == poisson([BODY], 100.0, 50.0, seed=3)
    assert plan != poisson([BODY], 100.0, 50.0, seed=4)


def test_latency_counts_from_the_scheduled_instant() -> None:
    left: list[float] = []

    async def stalled(body: Body, seconds: float) -> str:
        left.append(seconds)
        time.sleep(0.3)  # the generator itself stalls: the second request leaves long after its instant
        return "OK"

    outcomes, late = asyncio.run(offer(stalled, [(0.1, BODY), (0.0, BODY)], 5.0))

    assert [(outcome.at, outcome.code) for outcome in outcomes] == [(0.0, "OK"), (0.1, "OK")]
    assert outcomes[1].seconds >= 0.5  # 0.2 until it left, 0.3 until its answer
    assert late >= 0.2
    assert left[1] <= 4.8  # the deadline counts from there, too


def test_the_sum_leaves_the_warm_up_out_and_counts_every_code() -> None:
    def outcome(at: float, seconds: float, code: str) -> Outcome:
        return Outcome(at, seconds, code, BODY)

    found = summed_up(
        [
            outcome(0.5, 9.0, "OK"), outcome(1, 0.1, "OK"), outcome(2, 0.2, "OK"),
            outcome(3, 0.004, "RESOURCE_EXHAUSTED"),
        ],
        "text", warm_up_seconds=1.0, seconds=10.0,
    )  # fmt: skip

    assert found["codes"] == {"OK": 2, "RESOURCE_EXHAUSTED": 1}
    assert (found["tokens_per_second"], found["p95_ms"], found["refusal_ms_p50"]) == (2, 200.0, 4.0)
    assert quantile_ms([], 95) is None


def test_both_ways_to_send_report_what_happened() -> None:
    request = pb.EmbedRequest(input=pb.EmbedInput(text="Nurse"), options=pb.EmbedOptions(entity_type="job"))
    method = "/jude.embedding.v1.EmbeddingService/Embed"

    async def codes(target: str, port: int) -> list[str]:
        async with over_grpc(target) as send, over_http("127.0.0.1", port) as post, over_http("127.0.0.1", 1) as nobody:
            return [
                await send(Body("text", method, request.SerializeToString(), 1), 5.0),
                await send(Body("text", method, b"", 1), 5.0),
                await post(Body("text", "/metrics", b"", 1), 5.0),
                await nobody(BODY, 5.0),
            ]

    with running() as up:
        found = asyncio.run(codes(up.address.target, up.server.metrics_port))

    assert [found[0], found[1], found[3]] == ["OK", "INVALID_ARGUMENT", "UNAVAILABLE"]
    assert found[2] in ("OK", "HTTP_405")


def test_the_small_qwen_is_a_folder_that_ours_reads(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "qwen")
    model = read_model_folder(folder)
    ids = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(words(5, 11)).ids

    assert (model.family, model.width, model.pooling, model.normalise, model.mask) == (
        "qwen3",
        512,
        "last",
        True,
        "causal",
    )
    assert sum(tensor.numel() for tensor in weights(7).values()) == 29_369_856
    assert (len(ids), ids[-1], 1 in ids) == (6, 0, False)
