"""Open-loop load: requests leave at their scheduled instants, whether or not the server keeps up.

Latency counts from the scheduled instant, so a server that stalls cannot slow down its own load. How late the generator
itself was is part of the result: a run where it was more than `LATE_LIMIT_SECONDS` late says nothing.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc

LATE_LIMIT_SECONDS = 0.02
_REFUSED_PAUSE_SECONDS = 0.05  # in the closed loop: asking again at once would only be load on the generator


@dataclass(frozen=True, slots=True)
class Body:
    """One serialised request of the pool."""

    kind: str
    method: str
    data: bytes
    tokens: int


Send = Callable[[Body, float], Awaitable[str]]
"""Sends one body within so many seconds and gives the status code."""
Connect = Callable[[], AbstractAsyncContextManager[Send]]
"""Opens connections of the running event loop."""
Draw = Callable[[], Body]
"""Makes the next request."""
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


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


async def offer(send: Send, plan: Sequence[tuple[float, Body]], deadline_seconds: float) -> tuple[list[Outcome], float]:
    """Send each body at its instant; give the outcomes and the generator's worst lateness in seconds."""
    start, late, running = time.perf_counter(), 0.0, []
    for at, body in sorted(plan, key=lambda entry: entry[0]):
        if (wait := at - (time.perf_counter() - start)) > 0:
            await asyncio.sleep(wait)
        late = max(late, time.perf_counter() - start - at)
        running.append(asyncio.create_task(_outcome(send, body, at, start, deadline_seconds)))
    return list(await asyncio.gather(*running)), late


async def _outcome(send: Send, body: Body, at: float, start: float, deadline_seconds: float) -> Outcome:
    # The deadline counts from the scheduled instant, too.
    left = deadline_seconds - (time.perf_counter() - start - at)
    code = await send(body, max(0.0, left))
    return Outcome(at, time.perf_counter() - start - at, code, body)


async def closed_loop(connect: Connect, draw: Draw, seconds: float, callers: int = 32) -> float:
    """Tokens per second of so many callers, each asking again at once; a sixth of the time before it counts."""
    tokens = 0
    begin = time.perf_counter() + seconds / 6
    end = begin + seconds

    async def caller(send: Send) -> None:
        nonlocal tokens
        while time.perf_counter() < end:
            body = draw()
            if await send(body, 60.0) != "OK":
                await asyncio.sleep(_REFUSED_PAUSE_SECONDS)
            elif begin <= time.perf_counter() < end:
                tokens += body.tokens

    async with connect() as send:
        await asyncio.gather(*(caller(send) for _ in range(callers)))
    return tokens / seconds


async def open_loop(
    connect: Connect, draw: Draw, per_second: float, seconds: float, seed: int, deadline_seconds: float = 2.0
) -> dict[str, Any]:
    """Poisson arrivals at a rate, and what became of them."""
    warm_up = seconds / 6
    times = poisson([Body("text", "", b"", 0)], per_second, warm_up + seconds, seed)
    plan = [(at, draw()) for at, _ in times]
    async with connect() as send:
        outcomes, late = await offer(send, plan, deadline_seconds)
    return {**summed_up(outcomes, "text", warm_up, seconds), "generator_late_ms": round(1000 * late, 1)}


@asynccontextmanager
async def over_grpc(target: str) -> AsyncIterator[Send]:
    """Send over one gRPC connection."""
    async with grpc.aio.insecure_channel(target, options=[("grpc.max_receive_message_length", 64 << 20)]) as channel:

        async def send(body: Body, seconds: float) -> str:
            try:
                await channel.unary_unary(body.method)(body.data, timeout=seconds)
            except grpc.aio.AioRpcError as error:
                code: str = error.code().name
                return code
            return "OK"

        yield send


@asynccontextmanager
async def over_http(host: str, port: int) -> AsyncIterator[Send]:
    """POST over kept connections, as many as are busy at once; `body.method` is the path."""
    idle: list[Connection] = []

    async def exchange(body: Body) -> str:
        connection = idle.pop() if idle else await asyncio.open_connection(host, port)
        reader, writer = connection
        head = f"POST {body.method} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body.data)}\r\n\r\n".encode() + body.data)
        status = (await reader.readline()).split()[1]
        length = 0
        while (line := (await reader.readline()).strip().lower()) != b"":
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        await reader.readexactly(length)
        idle.append(connection)
        return "OK" if status == b"200" else {b"429": "RESOURCE_EXHAUSTED"}.get(status, f"HTTP_{status.decode()}")

    async def send(body: Body, seconds: float) -> str:
        try:
            return await asyncio.wait_for(exchange(body), seconds)
        except TimeoutError:
            return "DEADLINE_EXCEEDED"
        except (OSError, asyncio.IncompleteReadError, IndexError):
            return "UNAVAILABLE"

    try:
        yield send
    finally:
        for _, writer in idle:
            writer.close()


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
