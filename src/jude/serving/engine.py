"""The one place where vectors are computed: workers form passes, each has a thread that runs the model.

A GPU has one worker. A CPU has one per core, each with passes of its own on its own core: nobody waits for the longer
half of a pass, and no core stands idle while answers are written. A worker that finds itself alone takes all cores, and
the others wait for it: threads that fight for a core would slow both passes down.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from jude.errors import TransientEncoderError
from jude.observe.logs import log_event
from jude.serving.lanes import LaneRules, Pass, Ticket, TwoLanes, Work
from jude.serving.metrics import Metrics
from jude.serving.models import LoadedModel
from jude.serving.refusal import Code, RefusedError

_LOG = logging.getLogger("jude.serving.engine")
_T = TypeVar("_T")


@dataclass(slots=True, eq=False)
class Call(Ticket):
    """A ticket with the place where its vectors are gathered."""

    vectors: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))  # [items, width]
    missing: int = 0
    started: float | None = None  # when its first text was computed
    done: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Engine:
    """Computes what waits in the lanes, pass by pass, until stopped."""

    def __init__(
        self, rules: LaneRules, metrics: Metrics, *, workers: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.lanes = TwoLanes(rules)
        self.clock = clock
        self._metrics = metrics
        self.width = 1  # how many workers may compute: what the models served can do side by side
        self._wake = asyncio.Event()
        self._threads = [ThreadPoolExecutor(1, f"jude-model-{number}") for number in range(max(1, workers))]
        self._workers: list[asyncio.Task[None]] = []
        self._computing = 0
        self._on_all_cores = False
        metrics.watch(self.lanes)

    def start(self) -> None:
        """Begin to compute, on the running loop."""
        loop = asyncio.get_running_loop()
        self._workers = [loop.create_task(self._run(n), name=f"jude-engine-{n}") for n in range(len(self._threads))]

    @property
    def runs(self) -> bool:
        """Whether passes are still formed."""
        return bool(self._workers) and not any(worker.done() for worker in self._workers)

    async def stop(self) -> None:
        """End. The server has ended its calls before."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        for thread in self._threads:
            thread.shutdown(wait=False, cancel_futures=True)

    async def aside(self, work: Callable[..., _T], *args: object, worker: int = 0) -> _T:
        """Run something on a worker's own thread, between two of its passes: warm-up and canary."""
        return await asyncio.get_running_loop().run_in_executor(self._threads[worker], work, *args)

    async def compute(self, call: Call, token_ids: Sequence[tuple[int, Sequence[int]]]) -> None:
        """Fill `call.vectors` for (row, token ids); a row that cannot be computed becomes NaN.

        Raises RefusedError (DEADLINE_EXCEEDED) when its time is over before all of it was computed.
        """
        call.missing = len(token_ids)
        self.lanes.put(Work(call, row, ids) for row, ids in token_ids)
        self._wake.set()
        try:
            await call.done
        except asyncio.CancelledError:
            self._metrics.dropped.labels("cancelled").inc()
            raise
        finally:
            if call.missing:
                self.lanes.drop(call)

    async def _run(self, number: int) -> None:
        while True:
            may = number < self.width and not self._on_all_cores
            chosen = self.lanes.next_pass(self.clock()) if may else Pass()
            self._expire(chosen.expired)
            if chosen.works:
                await self._forward(chosen, number)
            elif not chosen.expired:
                self._wake.clear()
                await self._wake.wait()

    async def _forward(self, chosen: Pass, number: int) -> None:
        model = chosen.works[0].ticket.model
        assert isinstance(model, LoadedModel)
        start = self.clock()
        for work in chosen.works:
            call = _call_of(work)
            call.started = start if call.started is None else call.started
        on_one_core = self.width > 1 and (self._computing > 0 or any(self.lanes.queued_tokens.values()))
        token_ids = [work.token_ids for work in chosen.works]
        with self._counted(on_all_cores=not on_one_core):
            rows = await self.aside(self._encoded, model, token_ids, on_one_core, worker=number)
        seconds = self.clock() - start
        model.learn_speed(chosen.tokens, seconds, on_one_core=on_one_core)
        self._count(chosen, model, seconds)
        self._metrics.nan.inc(int(len(rows) - np.isfinite(rows).all(axis=1).sum()))
        for work, row in zip(chosen.works, rows, strict=True):
            _deliver(_call_of(work), work.row, row)

    @contextmanager
    def _counted(self, *, on_all_cores: bool) -> Iterator[None]:
        self._computing += 1
        self._on_all_cores = on_all_cores
        try:
            yield
        finally:
            self._computing -= 1
            self._on_all_cores = False
            self._wake.set()

    def _encoded(
        self, model: LoadedModel, token_ids: Sequence[Sequence[int]], on_one_core: bool
    ) -> NDArray[np.float32]:
        """Encode one pass; when it fails as a whole, each text alone, so that only the guilty one has no vector."""
        try:
            rows = model.encode(token_ids, on_one_core=on_one_core)
            return _shaped(rows, len(token_ids), model.width)
        except Exception as error:
            log_event(_LOG, logging.ERROR, "pass failed", error_class=type(error).__name__, tokens=len(token_ids))
        rows = np.full((len(token_ids), model.width), np.nan, np.float32)
        for row, ids in enumerate(token_ids):
            try:
                rows[row] = _shaped(model.encoder.encode([ids]), 1, model.width)[0]
            except Exception as error:
                log_event(_LOG, logging.ERROR, "text failed", error_class=type(error).__name__, tokens=len(ids))
        return rows

    def _expire(self, tickets: Sequence[Ticket]) -> None:
        for ticket in tickets:
            self._metrics.dropped.labels("expired").inc()
            assert isinstance(ticket, Call)
            if not ticket.done.done():
                late = RefusedError(Code.DEADLINE_EXCEEDED, "The deadline passed in the queue.", reason="expired")
                ticket.done.set_exception(late)

    def _count(self, chosen: Pass, model: LoadedModel, seconds: float) -> None:
        self._metrics.passes.inc()
        self._metrics.fill.observe(chosen.tokens / model.pass_tokens)
        self._metrics.padding.set(getattr(model.encoder, "padding_share", 0.0))
        for lane in {work.ticket.lane for work in chosen.works}:
            of_lane = [work.tokens for work in chosen.works if work.ticket.lane is lane]
            name = lane.name.lower()
            self._metrics.tokens.labels(name).inc(sum(of_lane))
            self._metrics.texts.labels(name).inc(len(of_lane))
            self._metrics.seconds.labels(name, "compute").observe(seconds)


def _call_of(work: Work) -> Call:
    assert isinstance(work.ticket, Call)
    return work.ticket


def _shaped(rows: NDArray[np.float32], count: int, width: int) -> NDArray[np.float32]:
    if rows.shape != (count, width):
        raise TransientEncoderError(f"The encoder gave {list(rows.shape)} numbers, expected {[count, width]}.")
    return rows


def _deliver(call: Call, row: int, vector: NDArray[np.float32]) -> None:
    call.vectors[row] = vector
    call.missing -= 1
    if not call.missing and not call.done.done():
        call.done.set_result(None)
