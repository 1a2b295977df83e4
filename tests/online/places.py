"""Where a contract test's online store lies; a new kind joins the suite by one line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jude.settings.models import RedisSettings


def redis_settings(url: str, prefix: str = "test", **more: Any) -> RedisSettings:
    files = {"ca_file": None, "cert_file": None, "key_file": None}
    chosen: dict[str, Any] = {"cluster": False, "timeout_seconds": 2.0, "tombstone_days": None, **files, **more}
    return RedisSettings(url=url, prefix=prefix, **chosen)


@dataclass(frozen=True)
class Place:
    """`path` is a file, or a server's address and a prefix with a blank between."""

    kind: str
    path: str

    @property
    def redis(self) -> RedisSettings:
        url, prefix = self.path.split()
        return redis_settings(url, prefix, cluster="cluster" in prefix)


def place_of(kind: str, folder: Path, redis_url: Callable[[], str]) -> Place:
    made = {
        "sqlite": lambda: Place("sqlite", str(folder / "online.db")),
        "redis": lambda: Place("redis", f"{redis_url()} {folder.name}"),
        "redis-cluster": lambda: Place("redis", f"{redis_url()} cluster-{folder.name}"),
    }
    return made[kind]()
