"""Which bucket of embedding_current a key lives in: one hash, defined here, the same in Python and in Spark.

bucket = (first 4 bytes of md5(entity_type || 0x00 || entity_id), big-endian) mod n, n a power of two. A power of two
lets an operator double n later and split every bucket in two without moving a key anywhere else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from jude.errors import TerminalSettingsError

if TYPE_CHECKING:
    from pyspark.sql import Column

TEST_VECTORS: Final[tuple[tuple[str, str, int], ...]] = (
    ("job", "j1", 0x603E74A8),
    ("member", "", 0xD2C20156),
    ("resume", "Zoë 🙂", 0xBD573B9A),
)
"""(entity_type, entity_id, the 32-bit hash before the modulus): pinned, so that no table is read by another hash."""


def hash32(entity_type: str, entity_id: str) -> int:
    """Hash a key to an unsigned 32-bit number."""
    key = f"{entity_type}\0{entity_id}".encode()
    return int.from_bytes(hashlib.md5(key, usedforsecurity=False).digest()[:4], "big")


def bucket(entity_type: str, entity_id: str, buckets: int) -> int:
    """Give the bucket of a key, in [0, buckets)."""
    return hash32(entity_type, entity_id) & (buckets - 1)


def buckets_of(entity_types: Sequence[str], entity_ids: Sequence[str], buckets: int) -> list[int]:
    """Give the bucket of each key, in order."""
    return [bucket(t, i, buckets) for t, i in zip(entity_types, entity_ids, strict=True)]


def bucket_column(entity_type: Column, entity_id: Column, buckets: int) -> Column:
    """Build the Spark expression of the same hash (int)."""
    from pyspark.sql import functions as F  # noqa: N812 - the name that every Spark user knows

    head = F.substring(F.md5(F.concat(entity_type, F.lit("\0"), entity_id).cast("binary")), 1, 8)
    return (F.conv(head, 16, 10).cast("long") % F.lit(buckets)).cast("int")


def require_power_of_two(buckets: int) -> int:
    """Give `buckets` back. Raises TerminalSettingsError if it is not a power of two in [1, 65536]."""
    if buckets < 1 or buckets > 65536 or buckets & (buckets - 1):
        raise TerminalSettingsError(
            f"tables.buckets is {buckets}; it must be a power of two from 1 to 65536. "
            "Choose about one bucket per 500 entities and entity type: 16 for 10 thousand, 2048 for a million."
        )
    return buckets
