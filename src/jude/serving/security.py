"""Who may call: TLS, client certificates, bearer tokens."""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

import grpc

from jude.errors import TerminalSettingsError
from jude.settings import TlsSettings

_HEALTH: Final = "/grpc.health.v1.Health/"
_BEARER: Final = "Bearer "


class TokenCheck(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc ships no types
    """Refuses calls without one of the accepted tokens. Health stays open: probes carry no token."""

    def __init__(self, tokens: Sequence[str]) -> None:
        """Accept any of these; several, while one replaces the other."""
        self._tokens = [token.encode() for token in tokens]

    async def intercept_service(
        self,
        continuation: Callable[[Any], Awaitable[Any]],
        handler_call_details: Any,  # noqa: ANN401 - gRPC's
    ) -> Any:  # noqa: ANN401  grpc ships no types
        """Let the call through, or answer it with UNAUTHENTICATED."""
        handler = await continuation(handler_call_details)
        if handler_call_details.method.startswith(_HEALTH) or self._accepts(handler_call_details.invocation_metadata):
            return handler
        if handler is not None and handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(_refuse_stream)  # at once: it may never send a message
        return grpc.unary_unary_rpc_method_handler(_refuse)

    def _accepts(self, metadata: Any) -> bool:  # noqa: ANN401  grpc ships no types
        sent = next((value for key, value in metadata if key == "authorization"), "")
        token = sent.removeprefix(_BEARER).encode() if isinstance(sent, str) and sent.startswith(_BEARER) else b""
        # All are compared, each in constant time: not even which of them matched shows.
        return sum(hmac.compare_digest(token, accepted) for accepted in self._tokens) > 0


async def _refuse(request: Any, context: Any) -> None:  # noqa: ANN401  grpc ships no types
    await context.abort(
        grpc.StatusCode.UNAUTHENTICATED, "Send one of this server's tokens as `authorization: Bearer TOKEN`."
    )


async def _refuse_stream(requests: Any, context: Any) -> AsyncIterator[bytes]:  # noqa: ANN401  grpc ships no types
    await _refuse(requests, context)
    yield b""  # never reached: it makes this a generator, which gRPC wants here


def server_credentials(tls: TlsSettings) -> Any | None:  # noqa: ANN401  grpc ships no types
    """The server's TLS, None without a certificate. Raises TerminalSettingsError for a file that cannot be read."""
    if tls.cert_file is None or tls.key_file is None:
        return None
    pair = (_pem("serving.tls.key_file", tls.key_file), _pem("serving.tls.cert_file", tls.cert_file))
    authorities = _pem("serving.tls.client_ca_file", tls.client_ca_file) if tls.client_ca_file else None
    return grpc.ssl_server_credentials([pair], authorities, require_client_auth=authorities is not None)


def _pem(key: str, file: Path) -> bytes:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise TerminalSettingsError(f"{key}: {file} cannot be read ({error.strerror}).") from error
    if b"-----BEGIN" not in data:
        raise TerminalSettingsError(f"{key}: {file} is not PEM: it holds no BEGIN line.")
    return data
