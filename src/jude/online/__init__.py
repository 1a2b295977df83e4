"""The newest vector of each entity, a millisecond away.

In come guarded puts (a vector, or a tombstone for a delete) with their position; out go vectors by entity id, and
for each put what became of it and since when it can be read.
"""

from jude.online.opening import OnlineSettings, open_online
from jude.online.protocol import OnlineStore, OnlineVector, Put, PutResult, PutStatus
from jude.online.sqlite import SqliteStore

__all__ = [
    "OnlineSettings",
    "OnlineStore",
    "OnlineVector",
    "Put",
    "PutResult",
    "PutStatus",
    "SqliteStore",
    "open_online",
]
