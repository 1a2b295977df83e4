"""The raw record as Kafka holds it; both sources yield these columns.

A module of its own, without imports of ours: Spark starts four Python processes to open a file source, and each
imports what this one does.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

UTC: Final = pa.timestamp("us", tz="UTC")

RECORDS: Final = pa.schema(
    [
        ("topic", pa.string()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("timestamp", UTC),
        ("key", pa.binary()),
        ("value", pa.binary()),
        ("headers", pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))),
    ]
)
