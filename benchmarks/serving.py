"""Our server against infinity and vLLM on one model, open loop, each at its own best setting.

    make bench-serving      # or: python -m benchmarks.serving [--seconds 60] [--rounds 5] [--only ours]

Every server reads the same folder (`benchmarks.small_qwen`) and gets the same texts: no text twice in a run, lengths
log-normal with a mean of 120 tokens. First its capacity, closed loop, with one and with two threads; then, at the
better of the two, Poisson arrivals at shares of its own capacity, with one deadline for all. Servers alternate within
a round.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import peers
from benchmarks.machine import describe, load, say
from benchmarks.offering import LATE_LIMIT_SECONDS, Body, Outcome, Send, offer, over_grpc, over_http, poisson, summed_up
from benchmarks.servers import serving
from benchmarks.small_qwen import MAX_TOKENS, make_folder, words
from jude.serving.v1 import embedding_pb2 as pb

SHARES = (0.5, 0.7, 0.8, 0.9, 1.1, 2.0)
SERVERS = ("ours", "vllm", "infinity")
_MEAN_TOKENS, _SIGMA = 120, 0.6
_DEADLINE_SECONDS = 2.0
_CALLERS = 32  # of the closed loop
_GRPC_METHOD = "/jude.embedding.v1.EmbeddingService/Embed"


Sender = Callable[[], AbstractAsyncContextManager[Send]]
"""Opens connections of the running event loop."""
Runs = dict[str, dict[str, list[dict[str, Any]]]]
"""Server -> share -> one result per round."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One server with what may be chosen."""

    name: str
    dtype: str
    threads: int


class Texts:
    """Texts of log-normal lengths; none comes twice, because a server may remember."""

    def __init__(self, seed: int) -> None:
        self._rng, self._start = random.Random(seed), seed * 1_000_003

    def body(self, name: str, model: Path) -> Body:
        """The next text, as a request of one server."""
        drawn = self._rng.lognormvariate(math.log(_MEAN_TOKENS) - _SIGMA**2 / 2, _SIGMA)
        count = min(MAX_TOKENS - 1, max(1, round(drawn)))
        self._start += 1
        text = words(count, self._start)
        if name == "ours":
            options = pb.EmbedOptions(entity_type="job", lane=pb.LANE_ONLINE)
            request = pb.EmbedRequest(input=pb.EmbedInput(text=text), options=options)
            return Body("text", _GRPC_METHOD, request.SerializeToString(), count + 1)
        path = {"infinity": "/embeddings", "vllm": "/v1/embeddings"}[name]
        return Body("text", path, json.dumps({"model": str(model), "input": [text]}).encode(), count + 1)


@contextmanager
def started(setting: Setting, model: Path) -> Iterator[Sender]:
    """Start one server; gives what connects to it."""
    if setting.name == "ours":
        overrides = ("encoder.kind=folder", f"encoder.path={model}", f"encoder.compute={setting.dtype}")
        with serving(*overrides, f"encoder.threads={setting.threads}") as server:
            yield lambda: over_grpc(server.target)
        return
    peer = {"infinity": peers.infinity, "vllm": peers.vllm}[setting.name](setting.dtype, setting.threads)
    with peers.running(peer, model):
        yield lambda: over_http("127.0.0.1", peer.port)


async def capacity(sender: Sender, name: str, model: Path, seconds: float) -> float:
    """Tokens per second of a closed loop: so many callers, each asking again at once."""
    texts, tokens = Texts(1), 0
    end = time.perf_counter() + seconds

    async def caller(send: Send) -> None:
        nonlocal tokens
        while time.perf_counter() < end:
            body = texts.body(name, model)
            if await send(body, 60.0) == "OK":
                tokens += body.tokens

    async with sender() as send:
        start = time.perf_counter()
        await asyncio.gather(*(caller(send) for _ in range(_CALLERS)))
        return tokens / (time.perf_counter() - start)


async def at_share(
    sender: Sender, name: str, model: Path, per_second: float, seconds: float, seed: int
) -> dict[str, Any]:
    """One open-loop run at a rate of requests."""
    warm_up, texts = seconds / 6, Texts(seed)
    times = poisson([Body("text", "", b"", 0)], per_second, warm_up + seconds, seed)
    plan = [(at, texts.body(name, model)) for at, _ in times]
    async with sender() as send:
        outcomes: list[Outcome]
        outcomes, late = await offer(send, plan, _DEADLINE_SECONDS)
    return {**summed_up(outcomes, "text", warm_up, seconds), "generator_late_ms": round(1000 * late, 1)}


def best_setting(name: str, dtype: str, model: Path, seconds: float) -> tuple[Setting, float]:
    """The number of threads with which a server computes most, and how much."""
    found = {}
    for threads in (1, 2):
        setting = Setting(name, dtype, threads)
        with started(setting, model) as sender:
            found[setting] = asyncio.run(capacity(sender, name, model, seconds))
        say(f"{name} {dtype}, {threads} threads: {found[setting]:,.0f} tokens/s; {load()}")
    best = max(found, key=lambda setting: found[setting])
    return best, found[best]


def measure(names: Sequence[str], dtype: str, seconds: float, rounds: int, model: Path) -> dict[str, Any]:
    """Capacity of each server, then all shares, alternating."""
    best = {name: best_setting(name, dtype, model, seconds) for name in names}
    runs: Runs = {name: {str(share): [] for share in SHARES} for name in names}
    for number in range(rounds):
        for name, (setting, tokens_per_second) in best.items():
            with started(setting, model) as sender:
                for share in SHARES:
                    rate = share * tokens_per_second / _MEAN_TOKENS
                    found = asyncio.run(at_share(sender, name, model, rate, seconds, 7 + number))
                    runs[name][str(share)].append(found)
                    say(f"round {number + 1}, {name} at {share:.0%}: {found}; {load()}")
    return {
        "capacity_tokens_per_second": {name: round(found) for name, (_, found) in best.items()},
        "threads": {name: setting.threads for name, (setting, _) in best.items()},
        **_keys(names, best, runs),
        "runs": runs,
    }


def _keys(names: Sequence[str], best: dict[str, tuple[Setting, float]], runs: Runs) -> dict[str, Any]:
    def middle(name: str, share: float, key: str) -> float:
        return median(run[key] or 0.0 for run in runs[name][str(share)])

    ours = names[0]
    overload = middle(ours, 2.0, "tokens_per_second") / best[ours][1]
    late = max(run["generator_late_ms"] for part in runs.values() for found in part.values() for run in found)
    return {
        **{f"over_{name}": round(best[ours][1] / best[name][1], 3) for name in names if name != ours},
        "p95_ms_at_80": {name: middle(name, 0.8, "p95_ms") for name in names},
        "overload_goodput_share": round(overload, 3),
        "refusal_ms_p50": middle(ours, 2.0, "refusal_ms_p50"),
        "generator_was_on_time": late <= 1000 * LATE_LIMIT_SECONDS,
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Print a line per run, then one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60, help="of each run, after its warm-up (default: 60)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", action="append", choices=SERVERS, help="these servers; ours comes first")
    parser.add_argument("--dtype", action="append", choices=("float32", "bfloat16"), help="default: float32")
    given = parser.parse_args(argv)
    names = [name for name in SERVERS if given.only is None or name in given.only]
    say(describe())
    with tempfile.TemporaryDirectory() as folder:
        model = make_folder(Path(folder) / "qwen3-29m")
        found = {
            dtype: measure(names, dtype, given.seconds, given.rounds, model) for dtype in given.dtype or ["float32"]
        }
    bfloat16 = {f"{key}_bf16": value for key, value in found.get("bfloat16", {}).items() if key.startswith("over_")}
    print(json.dumps({**found.get("float32", {}), **bfloat16, "all": found}), flush=True)


if __name__ == "__main__":
    main()
