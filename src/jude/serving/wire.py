"""Between gRPC and the service: reading messages, and turning refusals into statuses that clients act on."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, NoReturn

import grpc
from google.protobuf.message import DecodeError, Message

from jude.observe.logs import log_event
from jude.serving.metrics import Metrics
from jude.serving.refusal import Code, RefusedError, invalid
from jude.serving.service import EmbeddingService
from jude.serving.tracing import Span, no_span
from jude.serving.v1 import embedding_pb2 as pb
from jude.serving.wire_status import status_metadata

SERVICE: Final = pb.DESCRIPTOR.services_by_name["EmbeddingService"].full_name
_LOG: Final = logging.getLogger("jude.serving.wire")
_STATUS: Final = {code.value[0]: code for code in grpc.StatusCode}

Method = Callable[[Any, Any], Awaitable[Message]]


def generic_handler(service: EmbeddingService, metrics: Metrics, span: Span = no_span) -> grpc.GenericRpcHandler:
    """The service as grpc.aio wants it registered."""
    unary: dict[str, tuple[Method, type[Message]]] = {
        "Embed": (service.embed, pb.EmbedRequest),
        "EmbedBatch": (service.embed_batch, pb.EmbedBatchRequest),
        "GetModelInfo": (service.get_model_info, pb.GetModelInfoRequest),
    }
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(_unary(name, method, metrics, span), _reader(kind), _written)
        for name, (method, kind) in unary.items()
    }
    handlers["EmbedStream"] = grpc.stream_stream_rpc_method_handler(
        _stream(service, metrics, span), _reader(pb.EmbedBatchRequest), _written
    )
    return grpc.method_handlers_generic_handler(SERVICE, handlers)


def _reader(kind: type[Message]) -> Callable[[bytes], Message | None]:
    """Read a message; None for bytes that are none, which gRPC itself would answer as our own failure."""

    def read(data: bytes) -> Message | None:
        try:
            return kind.FromString(data)
        except DecodeError:
            return None

    return read


def _written(message: Message) -> bytes:
    return message.SerializeToString()


def _unary(name: str, method: Method, metrics: Metrics, span: Span) -> Method:
    async def handle(request: Any, context: Any) -> Message:  # noqa: ANN401  grpc ships no types
        start = time.monotonic()
        try:
            if request is None:
                raise invalid("The bytes are no message of this method, or hold text that is not UTF-8.", "malformed")
            with span(name, context.invocation_metadata()):
                response = await method(request, context)
        except RefusedError as refused:
            _count(name, refused, metrics, time.monotonic() - start)
            await _abort(context, refused)
        except Exception as error:
            await _abort(context, _defect(name, error, metrics))
        metrics.requests.labels(name, "OK").inc()
        return response

    return handle


def _stream(service: EmbeddingService, metrics: Metrics, span: Span) -> Callable[[Any, Any], AsyncIterator[Message]]:
    name = "EmbedStream"

    async def handle(requests: Any, context: Any) -> AsyncIterator[Message]:  # noqa: ANN401  grpc ships no types
        with span(name, context.invocation_metadata()):
            try:
                async for response in service.embed_stream(requests, context):
                    yield response
            except Exception as error:
                await _abort(context, _defect(name, error, metrics))
        metrics.requests.labels(name, "OK").inc()

    return handle


def _defect(name: str, error: Exception, metrics: Metrics) -> RefusedError:
    """Log and count what should not have happened; the caller gets no word of it, which may quote a text."""
    metrics.requests.labels(name, Code.INTERNAL.name).inc()
    log_event(_LOG, logging.ERROR, "request failed", error_class=_class_of(error), stage=name)
    return RefusedError(Code.INTERNAL, "The server failed; its log says why.", reason="defect")


def _class_of(error: BaseException) -> str:
    """Name the class of an error; of one that tasks raised together, that of the first."""
    return _class_of(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else type(error).__name__


def _count(name: str, refused: RefusedError, metrics: Metrics, seconds: float) -> None:
    metrics.requests.labels(name, refused.code.name).inc()
    metrics.refusals.labels(refused.reason).inc()
    level = logging.ERROR if refused.code is Code.INTERNAL else logging.DEBUG
    log_event(_LOG, level, "request refused", stage=name, reason=refused.reason, took_seconds=seconds)


async def _abort(context: Any, refused: RefusedError) -> NoReturn:  # noqa: ANN401  grpc ships no types
    await context.abort(_STATUS[refused.code], str(refused), trailing_metadata=status_metadata(refused))
    raise AssertionError("abort always raises")
