"""Connections to a server: one per process and address, spread over its replicas, alive through idle NATs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from threading import Lock
from typing import Any, Final

import grpc

from jude.errors import TerminalSettingsError
from jude.serving.address import ServerAddress

_SERVICE_CONFIG: Final = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})
_channels: dict[tuple[int, ServerAddress], Any] = {}
_opening = Lock()


def shared_channel(address: ServerAddress) -> Any:  # noqa: ANN401  grpc ships no types
    """The connection of this process to an address, opened at its first use."""
    key = (os.getpid(), address)  # a forked process must not use its parent's
    with _opening:
        if key not in _channels:
            _channels[key] = _open(grpc, address)
        return _channels[key]


def async_channel(address: ServerAddress) -> Any:  # noqa: ANN401  grpc ships no types
    """A connection for the running event loop."""
    return _open(grpc.aio, address)


def metadata(address: ServerAddress) -> tuple[tuple[str, str], ...]:
    """What every call carries."""
    return (("authorization", f"Bearer {address.token}"),) if address.token else ()


def _open(library: Any, address: ServerAddress) -> Any:  # noqa: ANN401  grpc ships no types
    options = [
        ("grpc.service_config", _SERVICE_CONFIG),
        ("grpc.max_receive_message_length", address.max_message_bytes),
        ("grpc.max_send_message_length", address.max_message_bytes),
        ("grpc.keepalive_time_ms", 30_000),  # home and cloud NATs forget idle connections after minutes
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 500),
        ("grpc.max_reconnect_backoff_ms", 2_000),  # a restarted server is found within two seconds, not two minutes
        ("grpc.enable_retries", 0),  # jude.serving.retrying decides
    ]
    if not address.tls:
        return library.insecure_channel(address.target, options=options)
    credentials = grpc.ssl_channel_credentials(
        _read(address.ca_file), _read(address.key_file), _read(address.cert_file)
    )
    return library.secure_channel(address.target, credentials, options=options)


def _read(file: str | None) -> bytes | None:
    if file is None:
        return None
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise TerminalSettingsError(f"{file} cannot be read ({error.strerror}): see encoder.server.") from error
