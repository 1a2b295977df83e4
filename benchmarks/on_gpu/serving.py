"""The GPU behind the server: a query alone, mixed lengths at 80% load, bulk beside queries, twice the capacity."""

from __future__ import annotations

import asyncio
import math
import random
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.on_gpu.models import CONFIG, MOST_TOKENS, random_folder
from benchmarks.servers.offering import (
    Body,
    Connect,
    Send,
    closed_loop,
    offer,
    open_loop,
    over_grpc,
    poisson,
    quantile_ms,
    summed_up,
)  # fmt: skip
from benchmarks.servers.ours import serving
from benchmarks.servers.small_qwen import write_layout
from jude.serving.v1 import embedding_pb2 as pb

_METHOD: Final = "/jude.embedding.v1.EmbeddingService/EmbedBatch"
_LIST_TEXTS, _LIST_TOKENS = 32, 256
_MEAN_TOKENS, _SIGMA = 200, 1.0
_QUERY_TOKENS, _QUERIES = 32, 50
_QUERY_SHARE, _BULK_SHARE = 0.3, 0.55  # together the 85% of the target


class Requests:
    """Requests of token ids, no text twice."""

    def __init__(self, vocabulary: int, most_tokens: int, seed: int = 3) -> None:
        self._rng, self._vocabulary, self._most = random.Random(seed), vocabulary, most_tokens

    def mixed(self) -> Body:
        """One text of a log-normal length."""
        drawn = self._rng.lognormvariate(math.log(_MEAN_TOKENS) - _SIGMA**2 / 2, _SIGMA)
        return self._body("text", 1, min(self._most, max(1, round(drawn))), pb.LANE_ONLINE)

    def query(self) -> Body:
        return self._body("query", 1, _QUERY_TOKENS, pb.LANE_ONLINE)

    def bulk(self) -> Body:
        return self._body("bulk", _LIST_TEXTS, _LIST_TOKENS, pb.LANE_BULK)

    def _body(self, kind: str, texts: int, tokens: int, lane: pb.Lane) -> Body:
        inputs = [pb.EmbedInput(token_ids=self._ids(tokens)) for _ in range(texts)]
        request = pb.EmbedBatchRequest(inputs=inputs, options=pb.EmbedOptions(lane=lane))
        return Body(kind, _METHOD, request.SerializeToString(), texts * tokens)

    def _ids(self, tokens: int) -> bytes:
        return b"".join(self._rng.randrange(2, self._vocabulary).to_bytes(4, "little") for _ in range(tokens))


def serve(shape: dict[str, Any], device: str) -> dict[str, Any]:
    """Every figure through gRPC on this machine, from `jude serve` in a process of its own."""
    seconds, pass_ms = (20.0, 60) if device == "cuda" else (0.3, 100)
    with tempfile.TemporaryDirectory() as name:
        config = {**CONFIG, **shape, "max_position_embeddings": MOST_TOKENS, "eos_token_id": 0}
        folder = write_layout(random_folder(Path(name), shape), config, MOST_TOKENS)
        model = ("encoder.kind=folder", f"encoder.path={folder}", f"encoder.device={device}", "encoder.width=null")
        with serving(*model, "encoder.compute=bfloat16", f"serving.pass_milliseconds={pass_ms}") as server:
            requests = Requests(shape["vocab_size"], MOST_TOKENS if device == "cuda" else 256)
            return asyncio.run(_measured(lambda: over_grpc(server.target), requests, seconds))


async def _measured(connect: Connect, requests: Requests, seconds: float) -> dict[str, Any]:
    async with connect() as send:
        alone = sorted([await _seconds(send, requests.query()) for _ in range(_QUERIES)][5:])
    rate = await closed_loop(connect, requests.mixed, seconds, callers=64)
    busy = await open_loop(connect, requests.mixed, 0.8 * rate / _MEAN_TOKENS, seconds, 7)
    over = await open_loop(connect, requests.mixed, 2.0 * rate / _MEAN_TOKENS, seconds, 8)
    beside = await _beside_bulk(connect, requests, rate, seconds)
    return {
        "query_ms_p50": quantile_ms(alone, 50),
        "query_ms_p95": quantile_ms(alone, 95),
        "capacity_tokens_per_second": round(rate),
        "p95_ms_at_80": busy["p95_ms"],
        "query_p95_ms_beside_bulk": beside["p95_ms"],
        "overload_goodput_share": round(over["tokens_per_second"] / rate, 3),
        "refusal_ms_p50": over["refusal_ms_p50"],
    }


async def _seconds(send: Send, body: Body) -> float:
    began = time.perf_counter()
    await send(body, 30.0)
    return time.perf_counter() - began


async def _beside_bulk(connect: Connect, requests: Requests, rate: float, seconds: float) -> dict[str, Any]:
    warm_up = seconds / 6
    queries = poisson([requests.query() for _ in range(200)], _QUERY_SHARE * rate / _QUERY_TOKENS, warm_up + seconds, 9)
    per_second = _BULK_SHARE * rate / (_LIST_TEXTS * _LIST_TOKENS)
    lists = poisson([requests.bulk() for _ in range(32)], per_second, warm_up + seconds, 10)
    async with connect() as send:
        outcomes, _ = await offer(send, [*queries, *lists], 30.0)
    return summed_up(outcomes, "query", warm_up, seconds)
