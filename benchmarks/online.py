"""How fast the online stores are: `python -m benchmarks.online`, with a real redis-server and an SQLite file.

Batches of 500 puts of 384-d float32 vectors into a store that holds 100,000 entities (half new keys, half newer
positions), and reads of 100 random ids. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.measuring.machine import describe, load, say
from deploy.stack.ports import free_ports
from deploy.stack.programs import redis_server
from jude.online import OnlineStore, Put, SqliteStore
from jude.online.redis_store import RedisStore
from jude.settings.models import RedisSettings

WIDTH: Final = 384
BATCH: Final = 500
SEEDED: Final = 100_000
READS: Final = 2_000
IDS: Final = 100
VERSION: Final = "all-minilm-l6-v2-284276e4efa6"


def main(argv: Sequence[str] | None = None) -> None:
    """Measure both stores."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.online", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--entities", type=int, default=SEEDED, help="entities in the store (default: %(default)s)")
    given = parser.parse_args(argv)
    say(describe())
    with tempfile.TemporaryDirectory(prefix="jude-online-") as name:
        found = _sqlite(Path(name), given.entities) | _redis(Path(name), given.entities)
    say(f"At the end: {load()}")
    print(json.dumps(found), flush=True)


def _sqlite(folder: Path, entities: int) -> dict[str, float]:
    store = SqliteStore(folder / "online.sqlite")
    found = _measure("sqlite", store, entities)
    store.close()
    return found


def _redis(folder: Path, entities: int) -> dict[str, float]:
    (port,) = free_ports(1)
    durable = ["--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--dir", str(folder)]
    server = subprocess.Popen([redis_server(), "--bind", "127.0.0.1", "--port", str(port), *durable],
                              stdout=subprocess.DEVNULL)  # fmt: skip
    try:
        time.sleep(1)
        files = {"ca_file": None, "cert_file": None, "key_file": None}
        store = RedisStore(
            RedisSettings(
                url=f"redis://127.0.0.1:{port}/0",
                cluster=False,
                prefix="jude",
                timeout_seconds=10.0,
                tombstone_days=None,
                **files,
            )
        )
        found = _measure("redis", store, entities)
        used = store._client.info("memory")["used_memory"]
        found["redis_bytes_per_vector"] = round(used / store._client.dbsize())
        store.close()
    finally:
        server.terminate()
        server.wait()
    return found


def _measure(name: str, store: OnlineStore, entities: int) -> dict[str, float]:
    vectors = [row.tobytes() for row in np.random.default_rng(7).standard_normal((BATCH, WIDTH)).astype("<f4")]
    _put(store, range(entities), 1, vectors)
    chance = random.Random(7)
    updates = chance.sample(range(entities), entities // 2)
    keys = [key for pair in zip(updates, range(entities, entities + len(updates)), strict=True) for key in pair]
    seconds = _put(store, keys, 2, vectors)
    took = []
    for _ in range(READS):
        ids = [f"j{chance.randrange(entities):08d}" for _ in range(IDS)]
        began = time.perf_counter()
        answers = store.get_many(VERSION, "job", ids)
        took.append(time.perf_counter() - began)
        assert None not in answers
    found = {
        f"{name}_puts_per_second": round(len(keys) / seconds),
        f"{name}_get_p50_ms": round(float(np.percentile(took, 50)) * 1000, 2),
        f"{name}_get_p99_ms": round(float(np.percentile(took, 99)) * 1000, 2),
    }
    say(f"{name}: {found}; {load()}")
    return found


def _put(store: OnlineStore, keys: Sequence[int], step: int, vectors: list[bytes]) -> float:
    """Put batches of 500; give the seconds of the puts alone."""
    position = f"{0:08x}-{step:016x}-1-{0:08x}-{0:016x}"
    seconds = 0.0
    for start in range(0, len(keys), BATCH):
        batch = keys[start : start + BATCH]
        puts = [
            Put(VERSION, "job", f"j{key:08d}", position, vectors[n], "float32", WIDTH) for n, key in enumerate(batch)
        ]
        began = time.perf_counter()
        store.put_many(puts, datetime.now(UTC))
        seconds += time.perf_counter() - began
    return seconds


if __name__ == "__main__":
    main()
