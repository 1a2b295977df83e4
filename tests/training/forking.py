"""Ranks as forked processes: what is imported once is there in all of them."""

from __future__ import annotations

import os
import socket
import time
import traceback
from collections.abc import Callable


def fork_ranks(count: int, be_rank: Callable[[int], None]) -> list[tuple[int, float]]:
    """Run `be_rank` in `count` processes that can meet; give each one's wait status, and when it came."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE=str(count))
    children = [_forked(rank, be_rank) for rank in range(count)]
    ended: dict[int, tuple[int, float]] = {}
    while len(ended) < count:
        child, status = os.wait()
        ended[child] = (status, time.monotonic())
    return [ended[child] for child in children]


def _forked(rank: int, be_rank: Callable[[int], None]) -> int:
    if (child := os.fork()) != 0:
        return child
    os.environ["RANK"] = os.environ["LOCAL_RANK"] = str(rank)
    try:
        be_rank(rank)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
