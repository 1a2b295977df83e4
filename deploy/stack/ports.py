"""Ports of this machine that nobody uses."""

from __future__ import annotations

import random
import socket


def is_free(port: int | None) -> bool:
    """Tell whether nobody listens there."""
    if port is None:
        return False
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def free_ports(count: int) -> list[int]:
    """Find ports that nobody uses now, below those that the system gives to whoever asks for any.

    Of one from among these Spark may take the number next, and read what a client of ours, come too late, sends it.
    """
    found: dict[int, socket.socket] = {}
    try:
        while len(found) < count:
            port = random.randrange(15_000, 32_000)
            if port not in found:
                found[port] = socket.socket()
                try:
                    found[port].bind(("127.0.0.1", port))
                except OSError:
                    found.pop(port).close()
        return list(found)
    finally:
        for each in found.values():
            each.close()
