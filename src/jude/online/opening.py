"""Choosing the online store by configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from jude.errors import TerminalSettingsError
from jude.online.nothing import NoOnlineStore
from jude.online.protocol import OnlineStore
from jude.online.redis_connect import RedisSettings
from jude.online.sqlite import SqliteStore


class OnlineSettings(Protocol):
    """The part of the configuration that chooses the online store."""

    @property
    def kind(self) -> str:
        """Give `sqlite`, `redis` or `none`."""
        ...

    @property
    def path(self) -> str | Path | None:
        """Give the SQLite file; unused by other kinds."""
        ...

    @property
    def redis(self) -> RedisSettings:
        """Say which server; unused by other kinds."""
        ...


def open_online(settings: OnlineSettings) -> OnlineStore:
    """Open the configured store. Raises TerminalSettingsError, and what the store raises."""
    if settings.kind == "none":
        return NoOnlineStore()
    if settings.kind == "sqlite":
        if not settings.path or not str(settings.path):
            raise TerminalSettingsError("online.kind is `sqlite` but online.path is empty: name the store's file.")
        return SqliteStore(settings.path)
    if settings.kind == "redis":
        from jude.online.redis_store import RedisStore

        return RedisStore(settings.redis)
    raise TerminalSettingsError(f"online.kind is {settings.kind!r}: choose `sqlite`, `redis` or `none`.")
