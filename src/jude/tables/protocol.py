"""What a micro-batch asks of the tables, and the two promises of every write: guarded, and idempotent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import pyarrow as pa

from jude.planning.state import Key
from jude.tables.spec import QUARANTINE, TableSpec


class TextKey(NamedTuple):
    """A row of text_history."""

    entity_type: str
    entity_id: str
    position: str


@dataclass(frozen=True, slots=True)
class Txn:
    """The identity of a write: (stream, batch), (backfill job, slice), (replay id, 0).

    The Delta app id of a table is `jude:<writer>:<stable_id>:<table>`, its version is `version`.
    """

    writer: str  # stream | backfill | replay | dismiss | reconcile
    stable_id: str
    version: int

    def app_id(self, table: str) -> str:
        return f"jude:{self.writer}:{self.stable_id}:{table}"

    @property
    def attempt(self) -> str:
        """How rows of quarantine name this write."""
        return f"{self.writer}:{self.stable_id}:{self.version}"


def written_by(spec: TableSpec, txn: Txn) -> dict[str, str | int]:
    """Give the columns, with their values, by which the rows are known that a txn appended."""
    if spec is QUARANTINE:
        return {"attempt": txn.attempt}
    return {"writer_query": txn.stable_id, "writer_batch": txn.version}


class Tables(Protocol):
    """The Delta tables of one deployment. Implementations: NativeTables (deltalake), SparkTables."""

    def ensure(self) -> None:
        """Create what is missing, migrate what is old, refuse what does not fit (TerminalTableError). Idempotent."""
        ...

    def model_versions(self) -> pa.Table:
        """All rows of model_versions."""
        ...

    def known_state(self, model_version: str, keys: Iterable[Key]) -> pa.Table:
        """Read embedding_current for these keys: the KNOWN schema, `fields` all null. Always the newest table state."""
        ...

    def fields_of(self, rows: Iterable[TextKey]) -> dict[TextKey, dict[str, str]]:
        """Read the raw text columns that text_history holds at these positions."""
        ...

    def live_keys(self, model_version: str, entity_type: str) -> list[Key]:
        """All live keys of an entity type (for a truncate that deletes)."""
        ...

    def stored(self, model_version: str, input_hashes: Sequence[str]) -> pa.Table:
        """Which of these inputs have a vector: input_hash, vector, dtype, dim, n_tokens, truncated, embedded_at,
        writer_query, writer_batch; one row per input_hash."""
        ...

    def append(self, table: str, rows: pa.Table, txn: Txn) -> None:
        """Append once.

        The first write of (app id) and every write whose txn was already applied anti-join the rows on the table's
        natural key and append only what is missing; all others append blindly. No rows: no commit.
        """
        ...

    def retract(self, table: str, txn: Txn) -> None:
        """Delete what this txn appended: its plan turned out to be old, another one follows. Nothing there: no commit.

        `table` has the columns writer_query and writer_batch, or is quarantine.
        """
        ...

    def merge_current(self, rows: pa.Table, txn: Txn) -> None:
        """MERGE into embedding_current, guarded in the matched clause (see spec.MERGE_GUARD).

        Raises CommitConflictError when another writer changed the touched rows: the caller plans again.
        """
        ...
