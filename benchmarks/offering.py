"""Open-loop load: requests leave at their scheduled instants, whether or not the server keeps up.

Latency counts from the scheduled instant, so a server that stalls cannot slow down its own load. How late the generator
itself was is part of the result: a run where it was more than `LATE_LIMIT_SECONDS` late says nothing.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc

LATE_LIMIT_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Body:
    """One serialised request of the pool."""

    kind: str
    method: str
    data: bytes
    tokens: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one request."""

    at: float  # scheduled, seconds from the start
    seconds: float  # from the scheduled instant to the answer
    code: str
    body: Body


def poisson(pool: Sequence[Body], per_second: float, seconds: float, seed: int) -> list[tuple[float, Body]]:
    """Draw arrival times and bodies; the same seed gives the same load."""
    rng, now, plan = random.Random(seed), 0.0, []
    while (now := now + rng.expovariate(per_second)) < seconds:
        plan.append((now, rng.choice(pool)))
    return plan


async def offer(
    target: str, plan: Sequence[tuple[float, Body]], deadline_seconds: float
) -> tuple[list[Outcome], float]:
    """Send each body at its instant; give the outcomes and the generator's worst lateness in seconds."""
    async with grpc.aio.insecure_channel(target, options=[("grpc.max_receive_message_length", 64 << 20)]) as channel:
        calls = {method: channel.unary_unary(method) for method in {body.method for _, body in plan}}
        start, late, running = time.perf_counter(), 0.0, []
        for at, body in sorted(plan, key=lambda entry: entry[0]):
            if (wait := at - (time.perf_counter() - start)) > 0:
                await asyncio.sleep(wait)
            late = max(late, time.perf_counter() - start - at)
            running.append(asyncio.create_task(_send(calls[body.method], body, at, start, deadline_seconds)))
        return list(await asyncio.gather(*running)), late


async def _send(
    call: Any,  # noqa: ANN401  grpc ships no types
    body: Body,
    at: float,
    start: float,
    deadline_seconds: float,
) -> Outcome:
    try:
        await call(body.data, timeout=deadline_seconds)
        code = "OK"
    except grpc.aio.AioRpcError as error:
        code = error.code().name
    return Outcome(at, time.perf_counter() - start - at, code, body)


def summed_up(outcomes: Sequence[Outcome], kind: str, warm_up_seconds: float, seconds: float) -> dict[str, Any]:
    """Codes, goodput and latency of one kind of request, without the warm-up."""
    measured = [o for o in outcomes if o.body.kind == kind and o.at >= warm_up_seconds]
    good = sorted(o.seconds for o in measured if o.code == "OK")
    refused = sorted(o.seconds for o in measured if o.code == "RESOURCE_EXHAUSTED")
    return {
        "requests": len(measured),
        "codes": dict(Counter(o.code for o in measured)),
        "tokens_per_second": round(sum(o.body.tokens for o in measured if o.code == "OK") / seconds),
        **{f"p{q}_ms": quantile_ms(good, q) for q in (50, 95, 99)},
        "refusal_ms_p50": quantile_ms(refused, 50),
    }


def quantile_ms(ascending: Sequence[float], percent: int) -> float | None:
    """A percentile in milliseconds; None of nothing."""
    if not ascending:
        return None
    return round(1000 * ascending[min(len(ascending) - 1, len(ascending) * percent // 100)], 2)
