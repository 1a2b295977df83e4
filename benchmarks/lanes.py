"""What two lanes are worth: short queries beside bulk lists, against the same server with one lane, and without bulk.

    make bench-lanes      # or: python -m benchmarks.lanes [--seconds 30] [--rounds 3]

Bulk lists of 32 long texts fill half of the measured capacity, queries a tenth; the runs differ in `serving.lanes`
alone. Open loop, one seed per round; the runs of a round alternate.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

from benchmarks.measuring.machine import describe, load, say
from benchmarks.servers.offering import LATE_LIMIT_SECONDS, Body, Outcome, offer, over_grpc, poisson, summed_up
from benchmarks.servers.ours import Served, serving
from jude.serving.client import EmbeddingClient, ServerAddress, Wanted
from jude.serving.v1 import embedding_pb2 as pb

_METHOD = "/jude.embedding.v1.EmbeddingService/"
_LIST_TEXTS = 32
_LONG_TOKENS, _SHORT_TOKENS = 256, 12
_VOCABULARY = (1_000, 29_000)  # ordinary words of MiniLM's tokeniser
_BULK_SHARE, _QUERY_SHARE = 0.5, 0.1
_DEADLINE_SECONDS = 30.0
RUNS = {"two lanes": ("2", True), "one lane": ("1", True), "no bulk": ("2", False)}


def bodies(kind: str, texts: int, tokens: int, count: int, rng: random.Random) -> list[Body]:
    """A pool of requests of equal size, no text twice."""
    online = pb.LANE_ONLINE if kind == "query" else pb.LANE_BULK
    made = []
    for _ in range(count):
        inputs = [pb.EmbedInput(token_ids=_ids(tokens, rng)) for _ in range(texts)]
        request = pb.EmbedBatchRequest(inputs=inputs, options=pb.EmbedOptions(lane=online))
        made.append(Body(kind, f"{_METHOD}EmbedBatch", request.SerializeToString(), texts * tokens))
    return made


def _ids(tokens: int, rng: random.Random) -> bytes:
    return b"".join(rng.randrange(*_VOCABULARY).to_bytes(4, "little") for _ in range(tokens))


def capacity(server: Served, seconds: float) -> float:
    """Tokens per second that the server computes of bulk lists, asked as fast as it answers."""
    client = EmbeddingClient(ServerAddress(server.target), timeout_seconds=600)
    rng, tokens = random.Random(1), 0
    start = time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        texts = [[rng.randrange(*_VOCABULARY) for _ in range(_LONG_TOKENS)] for _ in range(_LIST_TEXTS)]
        tokens += sum(client.embed_batch(texts, Wanted()).tokens)
    return tokens / elapsed


def run(server: Served, with_bulk: bool, tokens_per_second: float, seconds: float, seed: int) -> dict[str, Any]:
    """One open-loop run: queries, and bulk lists unless left out."""
    rng = random.Random(seed)
    warm_up = seconds / 6
    queries = bodies("query", 1, _SHORT_TOKENS, 500, rng)
    plan = poisson(queries, _QUERY_SHARE * tokens_per_second / _SHORT_TOKENS, warm_up + seconds, seed)
    if with_bulk:
        lists = bodies("bulk", _LIST_TEXTS, _LONG_TOKENS, 64, rng)
        per_second = _BULK_SHARE * tokens_per_second / (_LIST_TEXTS * _LONG_TOKENS)
        plan += poisson(lists, per_second, warm_up + seconds, seed + 1)
    before = server.cpu_seconds()
    outcomes, late = asyncio.run(_offered(server.target, plan))
    found = {kind: summed_up(outcomes, kind, warm_up, seconds) for kind in ("query", "bulk")}
    return {**found, "generator_late_ms": round(1000 * late, 1), "cpu_seconds": server.cpu_seconds() - before}


async def _offered(target: str, plan: list[tuple[float, Body]]) -> tuple[list[Outcome], float]:
    async with over_grpc(target) as send:
        return await offer(send, plan, _DEADLINE_SECONDS)


def measure(seconds: float, rounds: int, overrides: Sequence[str]) -> dict[str, Any]:
    """Run the three in turn, `rounds` times; medians and every run."""
    with serving(*overrides) as server:
        tokens_per_second = capacity(server, seconds / 4)
    say(f"capacity: {tokens_per_second:,.0f} tokens/s of bulk lists")
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in RUNS}
    for number in range(rounds):
        for name, (lanes, with_bulk) in RUNS.items():
            with serving(f"serving.lanes={lanes}", *overrides) as server:
                runs[name].append(run(server, with_bulk, tokens_per_second, seconds, 7 + number))
            last = runs[name][-1]
            p95 = {kind: last[kind]["p95_ms"] for kind in ("query", "bulk")}
            say(f"round {number + 1}, {name}: p95 {p95} ms, generator late {last['generator_late_ms']} ms; {load()}")
    return _result(runs, tokens_per_second)


def _result(runs: dict[str, list[dict[str, Any]]], tokens_per_second: float) -> dict[str, Any]:
    def middle(name: str, kind: str, key: str) -> float:
        return median(run[kind][key] or 0.0 for run in runs[name])

    two, one = (middle(name, "bulk", "tokens_per_second") for name in ("two lanes", "one lane"))
    return {
        "query_p95_ratio": round(middle("two lanes", "query", "p95_ms") / middle("one lane", "query", "p95_ms"), 4),
        "bulk_loss_share": round(max(0.0, 1 - two / one), 4),
        "query_p95_ms": {name: middle(name, "query", "p95_ms") for name in RUNS},
        "bulk_p95_ms": {name: middle(name, "bulk", "p95_ms") for name in RUNS if name != "no bulk"},
        "capacity_tokens_per_second": round(tokens_per_second),
        "generator_was_on_time": all(
            run["generator_late_ms"] <= 1000 * LATE_LIMIT_SECONDS for part in runs.values() for run in part
        ),
        "runs": runs,
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Print a line per run, then one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lanes", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=30, help="of each run, after its warm-up (default: 30)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="A.B=C")
    given = parser.parse_args(argv)
    say(describe())
    found = measure(given.seconds, given.rounds, given.overrides)
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
