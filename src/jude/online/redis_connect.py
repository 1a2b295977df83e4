"""Connecting to Redis, and what its failures mean for the job."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias
from urllib.parse import urlsplit

from jude.errors import TerminalEnvironmentError, TerminalError, TerminalSettingsError, TransientOnlineError

TRIES: Final = 6  # with pauses of 0.05 to 1 s: a restart of the server is waited for, about three seconds
# What passes by itself and has no class in redis: a replica is away, a disk is full, a long script runs.
_PASSES: Final = re.compile(r"\b(NOREPLICAS|MISCONF|BUSY) ")
Client: TypeAlias = Any  # redis types every answer as "this, or something to await": nothing could be read from it


class RedisSettings(Protocol):
    """`online.redis` of the configuration."""

    @property
    def url(self) -> str: ...
    @property
    def cluster(self) -> bool: ...
    @property
    def prefix(self) -> str: ...
    @property
    def ca_file(self) -> Path | None: ...
    @property
    def cert_file(self) -> Path | None: ...
    @property
    def key_file(self) -> Path | None: ...
    @property
    def timeout_seconds(self) -> float: ...
    @property
    def tombstone_days(self) -> int | None: ...


def connect(settings: RedisSettings) -> Client:
    """Give a client that has answered once.

    Raises TerminalEnvironmentError (no package redis), TerminalSettingsError (url, eviction), TerminalError,
    TransientOnlineError.
    """
    try:
        import redis
        from redis.backoff import ExponentialWithJitterBackoff
        from redis.retry import Retry
    except ImportError as error:
        raise TerminalEnvironmentError("The package redis is missing: pip install 'jude[live]'.") from error
    options: dict[str, Any] = {
        "socket_timeout": settings.timeout_seconds,
        "socket_connect_timeout": settings.timeout_seconds,
        "retry": Retry(ExponentialWithJitterBackoff(cap=1, base=0.05), TRIES),
        **_tls(settings),
    }
    if not settings.cluster:  # a cluster client tries again by itself
        options |= {"health_check_interval": 30, "retry_on_error": [redis.BusyLoadingError]}
    kind: Any = redis.RedisCluster if settings.cluster else redis.Redis
    name = where(settings.url)
    with redis_errors(name):
        try:
            client = kind.from_url(settings.url, **options)
        except ValueError as error:
            raise TerminalSettingsError(f"online.redis.url cannot be read: {error}") from error
        _refuse_eviction(client, name)
    return client


def where(url: str) -> str:
    """Name a server for people, without user and password."""
    parts = urlsplit(url)
    return f"The online store {parts.scheme}://{parts.hostname or ''}:{parts.port or 6379}{parts.path}"


@contextmanager
def redis_errors(name: str) -> Iterator[None]:
    """Run a block whose Redis errors become TransientOnlineError or TerminalError."""
    from redis import exceptions as redis

    terminal = (redis.AuthenticationError, redis.AuthorizationError, redis.NoPermissionError)
    transient = (
        redis.ConnectionError,
        redis.TimeoutError,
        redis.BusyLoadingError,
        redis.ReadOnlyError,
        redis.TryAgainError,
        redis.OutOfMemoryError,
        redis.ClusterError,
        redis.RedisClusterException,
    )
    try:
        yield
    except terminal as error:  # first: redis calls a wrong password a connection error
        raise TerminalError(f"{name} refuses this user: {error}. Check user, password and rights.") from error
    except transient as error:
        raise TransientOnlineError(f"{name} did not take the command ({error}): trying again may help.") from error
    except redis.RedisError as error:
        if _PASSES.search(str(error)):
            raise TransientOnlineError(f"{name} did not take the command ({error}): trying again may help.") from error
        raise TerminalError(f"{name} failed in an unexpected way ({type(error).__name__}: {error}).") from error


def _tls(settings: RedisSettings) -> dict[str, str]:
    files = {
        "ssl_ca_certs": settings.ca_file,
        "ssl_certfile": settings.cert_file,
        "ssl_keyfile": settings.key_file,
    }
    return {option: str(path) for option, path in files.items() if path is not None}


def _refuse_eviction(client: Client, name: str) -> None:
    """A server that evicts keys forgets tombstones too, and a late change would bring a deleted entity back."""
    memory = client.info("memory")
    for node in memory.values() if "maxmemory_policy" not in memory else [memory]:
        if node["maxmemory"] and node["maxmemory_policy"] != "noeviction":
            raise TerminalSettingsError(
                f"{name} may evict keys by itself (maxmemory-policy {node['maxmemory_policy']}): a forgotten "
                "tombstone lets a late change bring a deleted entity back. Set maxmemory-policy noeviction."
            )
