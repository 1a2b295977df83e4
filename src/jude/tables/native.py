"""The tables through `deltalake` and Arrow: no JVM, some milliseconds per write. The writer for path-based tables.

Concurrency: every commit is for exactly the version after the one that was read. When another writer took it, this one
reads what changed and decides: an append looks again for its rows; a MERGE is done again on the new files, unless a row
of the batch is no longer what `known_state` gave to this thread: then the plan is old.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from jude.errors import CommitConflictError
from jude.planning.rows import KNOWN
from jude.planning.state import Key
from jude.tables.bucket_cache import BucketCache
from jude.tables.buckets import bucket, buckets_of, require_power_of_two
from jude.tables.data_files import (
    as_schema,
    conform,
    read_file,
    readable,
    remove_action,
    split,
    with_partition,
)
from jude.tables.delta_log import Action, Partition, TableLog
from jude.tables.failures import table_errors
from jude.tables.fitting import specs_with
from jude.tables.merging import merge_rows, replaced, require_one_row_per_key
from jude.tables.native_ensure import ensure_table
from jude.tables.native_rows import fields_at, missing_rows, rows_of
from jude.tables.native_storage import NativeStorage
from jude.tables.protocol import TextKey, Txn
from jude.tables.seen_rows import SeenRows
from jude.tables.spec import EMBEDDING_CURRENT, EMBEDDING_STORE, MODEL_VERSIONS, TABLES, TEXT_HISTORY, TableSpec
from jude.tables.stored_vectors import StoredVectors

MAX_COMMIT_ATTEMPTS: Final = 50  # each lost race means that another writer got on
DEFAULT_CACHE_BYTES: Final = 128 * 1024**2
DEFAULT_INDEX_VECTORS: Final = 50_000_000  # 600 MB of index; above it `stored` reads the store's input_hash column


class NativeTables:
    """Tables under `root` (one folder each). Implements protocol.Tables."""

    def __init__(
        self,
        root: Path | str,
        buckets: int,
        storage_options: Mapping[str, str] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        index_vectors: int = DEFAULT_INDEX_VECTORS,
        link_commits: bool = True,
    ) -> None:
        """Open nothing yet.

        `cache_bytes` bounds the buckets of embedding_current kept in memory. `link_commits=False` lets delta-rs write
        the commits on a local file system too, as it does on every other storage.
        """
        self._buckets = require_power_of_two(buckets)
        self._storage = NativeStorage(str(root), storage_options or {}, clock, new_id, link_commits)
        self._cache = BucketCache(cache_bytes)
        self._vectors = StoredVectors(index_vectors)
        self._lock = threading.RLock()
        self._seen = SeenRows()
        self._heads: dict[str, int] = {}  # by table: the version that our last append made

    # -- protocol -----------------------------------------------------------------------------------------------

    def ensure(self) -> None:
        """Create what is missing, migrate what is old, refuse what does not fit (TerminalTableError). Idempotent."""
        with self._lock:
            for spec in specs_with(self._buckets):
                with table_errors(self._storage.where(spec)):
                    ensure_table(spec, self._storage.where(spec), self._storage.options)
            self._storage.forget()

    def known_state(self, model_version: str, keys: Iterable[Key]) -> pa.Table:
        """Read embedding_current for these keys: the KNOWN schema, `fields` all null. Always the newest table state."""
        wanted = sorted(set(keys))
        with self._lock, table_errors(self._storage.where(EMBEDDING_CURRENT)):
            log = self._storage.log(EMBEDDING_CURRENT)
            found = []
            for partition, ids in self._by_partition(model_version, wanted).items():
                rows = self._bucket(log, partition)
                places = pc.drop_null(pc.index_in(pa.array(ids), value_set=rows["entity_id"]))
                if len(places):
                    found.append(with_partition(rows.take(places), EMBEDDING_CURRENT, partition))
        rows = pa.concat_tables(found) if found else KNOWN.empty_table()
        known = as_schema(rows, KNOWN).combine_chunks()
        self._seen.remember(model_version, wanted, known)
        return known

    def fields_of(self, rows: Iterable[TextKey]) -> dict[TextKey, dict[str, str]]:
        """Read the raw text columns that text_history holds at these positions."""
        with self._lock, table_errors(self._storage.where(TEXT_HISTORY)):
            return fields_at(self._storage.log(TEXT_HISTORY), self._storage.files_at(TEXT_HISTORY), set(rows))

    def model_versions(self) -> pa.Table:
        """All rows of model_versions."""
        with self._lock, table_errors(self._storage.where(MODEL_VERSIONS)):
            log, files_at = self._storage.log(MODEL_VERSIONS), self._storage.files_at(MODEL_VERSIONS)
            found = [read_file(files_at, MODEL_VERSIONS, file) for file in log.files()]
        return pa.concat_tables([readable(MODEL_VERSIONS, MODEL_VERSIONS.schema.names).empty_table(), *found])

    def live_keys(self, model_version: str, entity_type: str) -> list[Key]:
        """All live keys of an entity type (for a truncate that deletes)."""
        with self._lock, table_errors(self._storage.where(EMBEDDING_CURRENT)):
            log, files_at = self._storage.log(EMBEDDING_CURRENT), self._storage.files_at(EMBEDDING_CURRENT)
            keys: list[Key] = []
            for file in log.files(p for p in log.partitions() if p[:2] == (entity_type, model_version)):
                rows = read_file(files_at, EMBEDDING_CURRENT, file, ("entity_id", "status"))
                live = rows.filter(pc.equal(rows["status"], "live"))
                keys.extend(Key(entity_type, entity_id) for entity_id in live["entity_id"].to_pylist())
        return sorted(keys)

    def stored(self, model_version: str, input_hashes: Sequence[str]) -> pa.Table:
        """Which of these inputs have a vector; one row per input_hash, the columns of embedding_store."""
        with self._lock, table_errors(self._storage.where(EMBEDDING_STORE)):
            log = self._storage.log(EMBEDDING_STORE)
            return self._vectors.fetch(log, self._storage.files_at(EMBEDDING_STORE), model_version, input_hashes)

    def append(self, table: str, rows: pa.Table, txn: Txn) -> None:
        """Append once (protocol.Tables.append). Raises CommitConflictError after many lost races."""
        spec = TABLES[table]
        if not rows.num_rows:
            return
        whole = conform(spec, rows)
        app_id = txn.app_id(table)
        with self._lock, table_errors(self._storage.where(spec)):
            if spec is EMBEDDING_STORE:
                self._vectors.require_width(
                    self._storage.log(spec), self._storage.files_at(spec), whole, self._storage.where(spec)
                )
            written: list[Action] = []
            for _ in range(MAX_COMMIT_ATTEMPTS):
                log = self._storage.log(spec)
                applied = log.transaction_version(app_id)
                # Another stream that appended since may have brought the same rows: then they are looked for.
                ours = self._heads.get(table) == log.version
                blind = ours and applied is not None and applied < txn.version
                if not blind:
                    self._storage.discard(spec, written)
                    written = []
                missing = whole if blind else self._missing(log, whole)
                if not missing.num_rows:
                    return
                written = written or self._storage.write(spec, split(spec, missing))
                mark = {"txn": {"appId": app_id, "version": max(txn.version, applied or 0)}}
                if self._storage.commits(log, [mark, *written], blind=blind):
                    self._heads[table] = log.version
                    return
            self._storage.discard(spec, written)
        raise self._lost_races(spec)

    def retract(self, table: str, txn: Txn) -> None:
        """Delete what this txn appended (protocol.Tables.retract). Raises CommitConflictError after many lost races."""
        spec = TABLES[table]
        with self._lock, table_errors(self._storage.where(spec)):
            for _ in range(MAX_COMMIT_ATTEMPTS):
                log = self._storage.log(spec)
                holding = rows_of(log, self._storage.files_at(spec), txn)
                if not holding:
                    return
                removed = [remove_action(spec, file, self._storage.now_ms()) for file, _ in holding]
                kept = [part for _, others in holding if others.num_rows for part in split(spec, others)]
                written = self._storage.write(spec, kept)
                if self._storage.commits(log, [*removed, *written], blind=False):
                    return
                self._storage.discard(spec, written)
        raise self._lost_races(spec)

    def missing(self, table: str, rows: pa.Table) -> pa.Table:
        """Anti-join rows on the table's natural key: those that the table does not hold."""
        spec = TABLES[table]
        with self._lock, table_errors(self._storage.where(spec)):
            return self._missing(self._storage.log(spec), conform(spec, rows))

    def merge_current(self, rows: pa.Table, txn: Txn) -> None:
        """MERGE into embedding_current, guarded (spec.MERGE_GUARD); no change, no commit.

        Raises CommitConflictError when a row is no longer what `known_state` gave to this thread.
        """
        spec = EMBEDDING_CURRENT
        if not rows.num_rows:
            return
        dealt = pa.array(buckets_of(rows["entity_type"].to_pylist(), rows["entity_id"].to_pylist(), self._buckets))
        source = conform(spec, rows.append_column("bucket", dealt.cast(pa.int32())))
        require_one_row_per_key(source)
        mark = {"txn": {"appId": txn.app_id(spec.name), "version": txn.version}}
        with self._lock, table_errors(self._storage.where(spec)):
            for _ in range(MAX_COMMIT_ATTEMPTS):
                log = self._storage.log(spec)
                removed, buckets_now = self._merged_buckets(log, source)
                if not buckets_now:
                    return
                written = self._storage.write(spec, buckets_now)
                if self._storage.commits(log, [mark, *removed, *written], blind=False):
                    for (partition, table), action in zip(buckets_now, written, strict=True):
                        self._cache.put(partition, (action["add"]["path"],), table)
                    self._seen.forget(pc.unique(source["model_version"]).to_pylist())
                    return
                self._storage.discard(spec, written)
        raise self._lost_races(spec)

    # -- merge --------------------------------------------------------------------------------------------------

    def _merged_buckets(self, log: TableLog, source: pa.Table) -> tuple[list[Action], list[tuple[Partition, pa.Table]]]:
        """Give the files to remove and the whole new content of each bucket that changes."""
        dealt = split(EMBEDDING_CURRENT, source)
        held = [self._bucket(log, partition) for partition, _ in dealt]
        places = [
            pc.index_in(rows["entity_id"], value_set=bucket_rows["entity_id"])
            for (_, rows), bucket_rows in zip(dealt, held, strict=True)
        ]
        aligned = pa.concat_tables(
            [bucket_rows.take(at) for bucket_rows, at in zip(held, places, strict=True)]
        ).combine_chunks()
        ordered = pa.concat_tables([rows for _, rows in dealt]).combine_chunks()
        self._require_unmoved(ordered, aligned)
        merged, changed = merge_rows(ordered.select(aligned.column_names), aligned)
        removed: list[Action] = []
        buckets_now = []
        start = 0
        for (partition, rows), bucket_rows, at in zip(dealt, held, places, strict=True):
            of_bucket = slice(start, start + rows.num_rows)
            start += rows.num_rows
            mask = changed[of_bucket]
            if not pc.any(mask).as_py():
                continue
            new = replaced(bucket_rows, merged[of_bucket].filter(mask), at.filter(mask))
            buckets_now.append((partition, new))
            removed.extend(remove_action(EMBEDDING_CURRENT, f, self._storage.now_ms()) for f in log.files([partition]))
        return removed, buckets_now

    def _bucket(self, log: TableLog, partition: Partition) -> pa.Table:
        """All rows of one bucket, without the partition columns."""
        files = list(log.files([partition]))
        paths = tuple(f.path for f in files)
        if (rows := self._cache.get(partition, paths)) is None:
            files_at = self._storage.files_at(EMBEDDING_CURRENT)
            rows = pa.concat_tables(
                [BUCKET_SCHEMA.empty_table(), *(read_file(files_at, EMBEDDING_CURRENT, f) for f in files)]
            )
            rows = rows.combine_chunks()
            self._cache.put(partition, paths, rows)
        return rows

    def _by_partition(self, model_version: str, keys: Iterable[Key]) -> dict[Partition, list[str]]:
        dealt: dict[Partition, list[str]] = {}
        for entity_type, entity_id in keys:
            number = bucket(entity_type, entity_id, self._buckets)
            dealt.setdefault((entity_type, model_version, str(number)), []).append(entity_id)
        return dealt

    def _require_unmoved(self, source: pa.Table, target: pa.Table) -> None:
        """Refuse to merge a plan that was made on rows which are no longer there. Raises CommitConflictError."""
        now = zip(*(target[c].to_pylist() for c in ("position", "offset", "quarantined_position")), strict=True)
        pairs = zip(self._seen.rows(source), now, strict=True)
        moved = sum(planned_on is not None and planned_on != row for planned_on, row in pairs)
        if moved:
            raise CommitConflictError(
                f"{self._storage.where(EMBEDDING_CURRENT)}: another writer changed {moved} of {source.num_rows} rows "
                "since they were read. Nothing was written; read known state again and plan again."
            )

    # -- appends ------------------------------------------------------------------------------------------------

    def _missing(self, log: TableLog, rows: pa.Table) -> pa.Table:
        """Anti-join on the natural key: the rows that the table does not hold."""
        missing = self._vectors.missing if log.spec is EMBEDDING_STORE else missing_rows
        return missing(log, self._storage.files_at(log.spec), rows)

    def _lost_races(self, spec: TableSpec) -> CommitConflictError:
        return CommitConflictError(
            f"{self._storage.where(spec)}: {MAX_COMMIT_ATTEMPTS} other commits came first. Nothing was written; try "
            "again, and if it stays so, give one writer fewer and larger batches."
        )


BUCKET_SCHEMA: Final = readable(
    EMBEDDING_CURRENT, [c.name for c in EMBEDDING_CURRENT.columns if c.name not in EMBEDDING_CURRENT.partition_by]
)
