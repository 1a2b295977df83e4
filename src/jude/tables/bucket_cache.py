"""Recently used buckets of embedding_current in memory: files never change, so a bucket is known by its file paths."""

from __future__ import annotations

from collections import OrderedDict

import pyarrow as pa

from jude.tables.delta_log import Partition


class BucketCache:
    """Least recently used buckets, bounded in bytes. A bucket whose files changed is a miss."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._rows: OrderedDict[Partition, tuple[tuple[str, ...], pa.Table]] = OrderedDict()

    def get(self, partition: Partition, paths: tuple[str, ...]) -> pa.Table | None:
        """Give the bucket's rows as these files hold them, or None."""
        held = self._rows.get(partition)
        if held is None or held[0] != paths:
            return None
        self._rows.move_to_end(partition)
        return held[1]

    def put(self, partition: Partition, paths: tuple[str, ...], rows: pa.Table) -> None:
        """Keep a bucket, and drop the least recently used beyond the bound."""
        if (old := self._rows.pop(partition, None)) is not None:
            self._bytes -= old[1].nbytes
        self._rows[partition] = (paths, rows)
        self._bytes += rows.nbytes
        while self._bytes > self._max_bytes and self._rows:
            _, (_, dropped) = self._rows.popitem(last=False)
            self._bytes -= dropped.nbytes
