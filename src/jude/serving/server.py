"""A running server: opens ports, loads models, warms up, serves, reloads, drains."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from jude.encoder import EncoderSpec
from jude.encoder.opening import forget_encoder
from jude.errors import TerminalEnvironmentError, TerminalSettingsError
from jude.observe.logs import log_event
from jude.serving.admission import Gates
from jude.serving.apart import usable_cores
from jude.serving.engine import Engine, on_own_thread
from jude.serving.health import Health
from jude.serving.lanes import Lane, LaneRules
from jude.serving.metrics import Metrics
from jude.serving.models import LoadedModel, Shelf, open_model, warm_up
from jude.serving.security import TokenCheck, server_credentials
from jude.serving.service import EmbeddingService, ServiceLimits
from jude.serving.tracing import open_spans
from jude.serving.wire import SERVICE, generic_handler
from jude.settings import ServingSettings

_LOG = logging.getLogger("jude.serving")
_LAST_ANSWERS_SECONDS = 1.0  # for answers that are made and not yet sent
Specs = Mapping[str, EncoderSpec]
"""Alias -> model."""


class Server:
    """One embedding server of this process."""

    def __init__(self, settings: ServingSettings, opener: Callable[[EncoderSpec], LoadedModel] = open_model) -> None:
        """Nothing is opened yet. Needs a running event loop. `opener` loads a model."""
        self.settings = settings
        self._opener = opener
        self.metrics = Metrics()
        self.shelf = Shelf({})
        rules = LaneRules(settings.lanes, settings.ageing_seconds, settings.bulk_share)
        self.engine = Engine(rules, self.metrics, workers=usable_cores())
        self.health = Health(self.shelf, self.engine, self.metrics)
        self.port = self.health_port = self.metrics_port = 0
        self._tokenisers = ThreadPoolExecutor(settings.tokenise_threads, "jude-tokeniser")
        self._service = self._open_service(settings)
        self._servers: list[Any] = []
        self._watch: asyncio.Task[None] | None = None

    async def start(self, specs: Specs) -> None:
        """Open the ports, load and warm up every model, then serve.

        Raises TerminalSettingsError, TerminalEnvironmentError: nothing is served if anything is wrong.
        """
        self._open_ports()
        await self.health.say(serving=False)
        self.engine.start()
        await self.reload(specs)
        for server in self._servers:
            await server.start()
        await self.health.check()
        self._watch = asyncio.create_task(self.health.watch(self.settings.canary_seconds), name="jude-canary")
        log_event(_LOG, logging.INFO, "serving")

    async def reload(self, specs: Specs) -> None:
        """Load what is new, then swap all aliases at once; requests under way keep the model they began with.

        The memory of a model that is no longer served is free when the last of them has ended.
        """
        loaded = {model.spec.as_json(): model for model, _ in self.shelf.versions()}
        try:
            for spec in specs.values():
                if spec.as_json() not in loaded:
                    loaded[spec.as_json()] = await self._load(spec)
            models = {alias: loaded[spec.as_json()] for alias, spec in specs.items()}
            self.shelf.swap(models)
            self.engine.width = min(model.side_by_side for model in models.values())
        finally:
            served = {model for model, _ in self.shelf.versions()}
            for model in set(loaded.values()) - served:
                forget_encoder(model.spec)
        self.metrics.serves((model.model_version, alias) for alias, model in models.items())

    async def drain(self) -> None:
        """Take no new requests, end those under way (`drain_seconds` at most), then close."""
        log_event(_LOG, logging.INFO, "draining")
        await self.health.leave()
        if self._watch is not None:
            self._watch.cancel()
        await self._service.drain(self.settings.drain_seconds)
        await asyncio.gather(*(server.stop(_LAST_ANSWERS_SECONDS) for server in self._servers))
        self.engine.stop()
        self._tokenisers.shutdown(wait=False, cancel_futures=True)
        log_event(_LOG, logging.INFO, "stopped")

    async def _load(self, spec: EncoderSpec) -> LoadedModel:
        """Load beside the running work; warm up between the passes of the first worker."""
        _require_cores(spec)
        start = time.perf_counter()
        model = await on_own_thread(self._opener, spec)
        opened = time.perf_counter()
        await self.engine.aside(warm_up, model, self.settings.pass_milliseconds / 1000)
        log_event(
            _LOG,
            logging.INFO,
            "model ready",
            model_version=model.model_version,
            load_seconds=opened - start,
            warm_up_seconds=time.perf_counter() - opened,
            pass_tokens=model.pass_tokens,
            tokens_per_second=model.tokens_per_second,
        )
        return model

    def _open_ports(self) -> None:
        settings = self.settings
        if settings.metrics_port is not None:
            self.metrics_port = self.metrics.listen(settings.metrics_host, settings.metrics_port)
        interceptors = [TokenCheck(settings.tokens)] if settings.tokens else []
        main = grpc.aio.server(interceptors=interceptors, options=_options(settings.max_message_bytes))
        span = open_spans(settings.trace_endpoint)
        main.add_generic_rpc_handlers((generic_handler(self._service, self.metrics, span),))
        health_pb2_grpc.add_HealthServicer_to_server(self.health.servicer, main)
        named = (SERVICE, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(named, main)
        self.port = _bound("port", main, settings.host, settings.port, server_credentials(settings.tls))
        self._servers = [main]
        if settings.health_port is not None:
            probes = grpc.aio.server(options=_options(1 << 16))
            health_pb2_grpc.add_HealthServicer_to_server(self.health.servicer, probes)
            self.health_port = _bound("health_port", probes, settings.host, settings.health_port, None)
            self._servers.append(probes)

    def _open_service(self, settings: ServingSettings) -> EmbeddingService:
        queues = {Lane.ONLINE: settings.online_queue_seconds, Lane.BULK: settings.bulk_queue_seconds}
        gates = Gates(settings.max_items, settings.max_waiting_bytes, queues)
        limits = ServiceLimits(gates, settings.max_text_bytes, settings.stream_window)
        return EmbeddingService(self.shelf, self.engine, self._tokenisers, self.metrics, limits)


def _options(max_message_bytes: int) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.so_reuseport", 0),  # else a second server takes half of the calls instead of failing
        # Clients keep idle connections through NATs by a ping every 30 s; gRPC's default answers that with GOAWAY.
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.keepalive_time_ms", 60_000),  # half-open connections are found and closed
        ("grpc.keepalive_timeout_ms", 20_000),
    ]


def _bound(key: str, server: Any, host: str, port: int, credentials: Any | None) -> int:  # noqa: ANN401 - gRPC's
    """Open a port. Raises TerminalEnvironmentError when it is in use or not allowed."""
    address = f"{host}:{port}"
    try:
        if credentials is None:
            return int(server.add_insecure_port(address))
        return int(server.add_secure_port(address, credentials))
    except RuntimeError as error:
        raise TerminalEnvironmentError(
            f"serving.{key}: {address} cannot be opened. Another server may have it, or the certificate does not fit "
            "its key. Free it, or set another one."
        ) from error


def _require_cores(spec: EncoderSpec) -> None:
    if spec.threads is not None and spec.threads > usable_cores():
        raise TerminalSettingsError(
            f"encoder.threads is {spec.threads}, but there are {usable_cores()} cores: threads that fight for a core "
            "made models 30 times slower. Set it to null or less."
        )
