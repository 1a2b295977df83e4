"""grpc.health.v1, tied to a known text: SERVING means that the model gave it its vector a moment ago."""

from __future__ import annotations

import asyncio
import logging

from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as grpc_health_aio

from jude.observe.logs import log_event
from jude.serving.engine import Engine
from jude.serving.metrics import Metrics
from jude.serving.models import LoadedModel, Shelf, lowest_cosine
from jude.serving.wire import SERVICE

_LOG = logging.getLogger("jude.serving.health")
_LEAST_COSINE = 0.9999
_TIMEOUT_SECONDS = 30.0  # of one canary, the pass before it included


class Health:
    """Decides what health checks hear, for "" and for the service."""

    def __init__(self, shelf: Shelf, engine: Engine, metrics: Metrics) -> None:
        self.servicer = grpc_health_aio.HealthServicer()
        self._shelf = shelf
        self._engine = engine
        self._metrics = metrics
        self._draining = False

    async def say(self, *, serving: bool) -> None:
        """Tell everybody who asks or watches."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ("", SERVICE):
            await self.servicer.set(service, status)
        self._metrics.canary.set(serving)

    async def leave(self) -> None:
        """Be NOT_SERVING from now on, whatever the canary says: the server drains."""
        self._draining = True
        await self.servicer.enter_graceful_shutdown()

    async def watch(self, every_seconds: float) -> None:
        """Check for ever."""
        was = True
        while not self._draining:
            await asyncio.sleep(every_seconds)
            works = await self.check()
            if works != was:
                log_event(_LOG, logging.WARNING, "canary well again" if works else "canary failed")
            was = works

    async def check(self) -> bool:
        """Embed the known text with every model on every worker's thread, and say what came of it."""
        pairs = [(model, worker) for model, _ in self._shelf.versions() for worker in range(self._engine.width)]
        works = self._engine.runs and all([await self._gives_its_vector(*pair) for pair in pairs])
        if not self._draining:
            await self.say(serving=works)
        return works

    async def _gives_its_vector(self, model: LoadedModel, worker: int) -> bool:
        try:
            ids = list(model.canary_ids[:1])
            found = await asyncio.wait_for(
                self._engine.aside(model.encoder.encode, ids, worker=worker), _TIMEOUT_SECONDS
            )
            return lowest_cosine(found, model.canary_vectors[:1]) >= _LEAST_COSINE
        except Exception as error:
            log_event(_LOG, logging.ERROR, "canary failed", error_class=type(error).__name__)
            return False
