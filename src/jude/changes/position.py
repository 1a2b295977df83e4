"""The order of the changes of one key, as a tuple and as a fixed-width string that sorts the same.

Every store compares the string: Redis' Lua has doubles only, and an lsn does not fit in one.
"""

from __future__ import annotations

from typing import Final, NamedTuple

MAX_EPOCH: Final = 2**32 - 1
MAX_LSN: Final = 2**64 - 1
MAX_TX_ORDER: Final = 2**32 - 1


class Position(NamedTuple):
    """Compared left to right (docs/design.md: Order)."""

    source_epoch: int  # raised by the operator after a failover or a restored database
    lsn: int
    streamed: int  # 0 for a snapshot row: it never overwrites a streamed change of the same lsn
    tx_order: int  # tells apart the two records of a key change, which share an lsn
    offset: int  # counts only where there is no lsn, so that a redelivered record stays a duplicate

    def __str__(self) -> str:
        return f"{self.source_epoch:08x}-{self.lsn:016x}-{self.streamed:x}-{self.tx_order:08x}-{self.offset:016x}"


def parse_position(position: str) -> Position:
    """Read the string form back."""
    return Position(*(int(part, 16) for part in position.split("-")))


def tombstone_position(stored: str, offset: int) -> str:
    """Give a tombstone that stands alone the stored lsn, just after the stored change."""
    return str(parse_position(stored)._replace(offset=offset))
