"""The one place where vectors are computed: workers form passes, each has a thread that runs the model.

A GPU has one worker. A CPU has one per core, each with passes of its own on its own core: nobody waits for the longer
half of a pass, and no core stands idle while answers are written. A worker that finds itself alone takes all cores, and
the others wait for it: threads that fight for a core would slow both passes down.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from threading import Condition, Thread
from typing import Any, TypeVar

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
_Aside = tuple[Future[Any], Callable[[], Any]]


@dataclass(slots=True, eq=False)
class Call(Ticket):
    """A ticket with the place where its vectors are gathered."""

    vectors: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))  # [items, width]
    missing: int = 0
    started: float | None = None  # when its first text was computed
    done: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Engine:
    """Computes what waits in the lanes, pass by pass, until stopped.

    The model's threads take their work from the lanes themselves: none waits for the event loop between two passes.
    """

    def __init__(
        self, rules: LaneRules, metrics: Metrics, *, workers: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.lanes = TwoLanes(rules)
        self.clock = clock
        self._metrics = metrics
        self._width = 1
        self._changed = Condition()  # guards the lanes and all below; told whenever a thread may have work
        self._computing = 0
        self.running_tokens = 0  # of the passes under way
        self._on_all_cores = False
        self._stopped = False
        self._asides: list[deque[_Aside]] = [deque() for _ in range(max(1, workers))]
        self._threads = [Thread(target=self._work, args=(n,), name=f"jude-model-{n}", daemon=True)
                         for n in range(len(self._asides))]  # fmt: skip
        metrics.watch(self.lanes)

    def start(self) -> None:
        """Begin to compute; results are delivered on the running loop."""
        self._loop = asyncio.get_running_loop()
        for thread in self._threads:
            thread.start()

    @property
    def width(self) -> int:
        """How many workers may compute: what the models served can do side by side."""
        return self._width

    @width.setter
    def width(self, workers: int) -> None:
        with self._changed:
            self._width = workers
            self._changed.notify_all()

    @property
    def runs(self) -> bool:
        """Whether passes are still formed."""
        return not self._stopped and all(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        """End after the passes under way. The server has ended its calls before."""
        with self._changed:
            self._stopped = True
            for done, _ in chain.from_iterable(self._asides):
                done.cancel()
            self._changed.notify_all()

    async def aside(self, work: Callable[..., _T], *args: object, worker: int = 0) -> _T:
        """Run something on a worker's own thread, between two of its passes: warm-up and canary."""
        done: Future[_T] = Future()
        with self._changed:
            self._asides[worker].append((done, partial(work, *args)))
            self._changed.notify_all()
        return await asyncio.wrap_future(done)

    async def compute(self, call: Call, token_ids: Sequence[tuple[int, Sequence[int]]]) -> None:
        """Fill `call.vectors` for (row, token ids); a row that cannot be computed becomes NaN.

        Raises RefusedError (DEADLINE_EXCEEDED) when its time is over before all of it was computed.
        """
        call.missing = len(token_ids)
        with self._changed:
            self.lanes.put(Work(call, row, ids) for row, ids in token_ids)
            self._changed.notify_all()
        try:
            await call.done
        except asyncio.CancelledError:
            self._metrics.dropped.labels("cancelled").inc()
            raise
        finally:
            if call.missing:
                with self._changed:
                    self.lanes.drop(call)

    def _work(self, number: int) -> None:
        """The life of one of the model's threads."""
        while (job := self._next_job(number)) is not None:
            job()

    def _next_job(self, number: int) -> Callable[[], None] | None:
        """Wait for something to do; None: nothing any more."""
        with self._changed:
            while not self._stopped:
                if self._asides[number]:
                    return partial(_answer, *self._asides[number].popleft())
                if number < self._width and not self._on_all_cores:
                    chosen = self.lanes.next_pass(self.clock(), self._width)
                    if chosen.expired:
                        self._tell(self._expire, chosen.expired)
                    if chosen.works:
                        alone = self._computing == 0 and not any(self.lanes.queued_tokens.values())
                        self._computing += 1
                        self.running_tokens += chosen.tokens
                        self._on_all_cores = alone or self._width == 1
                        return partial(self._forward, chosen, on_one_core=not self._on_all_cores)
                self._changed.wait()
        return None

    def _forward(self, chosen: Pass, *, on_one_core: bool) -> None:
        model = chosen.works[0].ticket.model
        assert isinstance(model, LoadedModel)
        start = self.clock()
        rows = self._encoded(model, [work.token_ids for work in chosen.works], on_one_core)
        seconds = self.clock() - start
        with self._changed:
            model.learn_speed(chosen.tokens, seconds, on_one_core=on_one_core)
            self._computing -= 1
            self.running_tokens -= chosen.tokens
            self._on_all_cores = False
            self._changed.notify_all()
        self._tell(self._deliver, chosen, rows, start, seconds)

    def _tell(self, what: Callable[..., None], *about: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(what, *about)

    def _deliver(self, chosen: Pass, rows: NDArray[np.float32], start: float, seconds: float) -> None:
        self._count(chosen, seconds)
        self._metrics.nan.inc(int(len(rows) - np.isfinite(rows).all(axis=1).sum()))
        for work, row in zip(chosen.works, rows, strict=True):
            call = _call_of(work)
            call.started = start if call.started is None else call.started
            call.vectors[work.row] = row
            call.missing -= 1
            if not call.missing and not call.done.done():
                call.done.set_result(None)

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

    def _count(self, chosen: Pass, seconds: float) -> None:
        model = chosen.works[0].ticket.model
        assert isinstance(model, LoadedModel)
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


async def on_own_thread(work: Callable[..., _T], *args: object) -> _T:
    """Run something that may take minutes where it keeps nobody waiting, nor the process from ending."""
    done: Future[_T] = Future()
    Thread(target=_answer, args=(done, partial(work, *args)), name="jude-apart", daemon=True).start()
    return await asyncio.wrap_future(done)


def _answer(done: Future[Any], work: Callable[[], Any]) -> None:
    if done.set_running_or_notify_cancel():
        try:
            done.set_result(work())
        except BaseException as error:  # handed to the caller, whatever it is
            done.set_exception(error)
