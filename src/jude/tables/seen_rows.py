"""What a thread read as known state, so that its MERGE can tell whether the plan still stands."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Final

import pyarrow as pa

from jude.planning.state import Key

SeenRow = tuple[str | None, int | None, str | None]  # position, offset, quarantined_position
NO_ROW: Final[SeenRow] = (None, None, None)
_COLUMNS: Final = ("entity_type", "entity_id", "position", "offset", "quarantined_position")


class SeenRows:
    """Per thread and model version: the rows that the last `known_state` gave. Forgotten with the merge."""

    def __init__(self) -> None:
        self._local = threading.local()

    def remember(self, model_version: str, wanted: Sequence[Key], known: pa.Table) -> None:
        """Keep what was read: the rows, and that the other keys had none."""
        seen: dict[Key, SeenRow] = dict.fromkeys(wanted, NO_ROW)
        for *key, position, offset, quarantined in zip(*(known[c].to_pylist() for c in _COLUMNS), strict=True):
            seen[Key(*key)] = (position, offset, quarantined)
        self._versions()[model_version] = seen

    def row(self, model_version: str, key: Key) -> SeenRow | None:
        """Give the row as it was read, NO_ROW if there was none, None if this thread did not look."""
        return self._versions().get(model_version, {}).get(key)

    def rows(self, source: pa.Table) -> list[SeenRow | None]:
        """Give `row` of each source row, in order."""
        keys = zip(*(source[c].to_pylist() for c in ("model_version", "entity_type", "entity_id")), strict=True)
        return [self.row(version, Key(*key)) for version, *key in keys]

    def forget(self, model_versions: Iterable[str]) -> None:
        """After our own merge the rows are ours: a second merge needs no second look."""
        for version in model_versions:
            self._versions().pop(version, None)

    def _versions(self) -> dict[str, dict[Key, SeenRow]]:
        if not hasattr(self._local, "versions"):
            self._local.versions = {}
        versions: dict[str, dict[Key, SeenRow]] = self._local.versions
        return versions
