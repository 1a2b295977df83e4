"""No online store: readers take embeddings from the tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from jude.errors import TerminalError
from jude.online.protocol import OnlineVector, Put, PutResult, PutStatus


class NoOnlineStore:
    """Keeps nothing, and answers every put with `stored` at `now`.

    Without an online store a vector is served from Delta, where it becomes readable when the batch commits, moments
    after this call. So `now` is the truth up to the rest of the batch; null would say "never served", which would
    empty the freshness histogram and blind the point-in-time mode `as_served`. The guard of embedding_current stays.
    """

    def get_many(self, model_version: str, entity_type: str, entity_ids: Sequence[str]) -> list[OnlineVector | None]:
        """Raises TerminalError: answering "unknown" for entities that exist would be a lie."""
        raise TerminalError(
            "There is no online store (online kind `none`). Read the view `embeddings`, or configure kind `sqlite`."
        )

    def put_many(self, puts: Sequence[Put], now: datetime) -> list[PutResult]:
        """Say `stored`, available at `now`, for every put."""
        return [PutResult(PutStatus.STORED, now) for _ in puts]

    def flip(self, alias: str, model_version: str) -> None:
        """Do nothing: the row in model_versions is the truth."""

    def resolve(self, alias: str) -> str | None:
        """Give None: aliases are read from model_versions."""
        return None

    def close(self) -> None:
        """Nothing to close."""
