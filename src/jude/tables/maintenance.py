"""Keeping the tables small in files: compaction, vacuum, checkpoints, beside a running stream.

What may run beside a stream is decided by what the stream does. It only appends to most tables: a compaction replaces
files that no batch rewrites, so nobody has to plan again, and readers keep the old files until vacuum. It rewrites
`embedding_current` whole, bucket by bucket: compacting that one would only take commits away from it, so it is left to
the stream and merely vacuumed. Whenever another writer was faster, the pass leaves the table for the next one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError

from jude.errors import TerminalTableError
from jude.observe import log_event
from jude.tables.failures import table_errors
from jude.tables.spec import CURRENT_HOURS, EMBEDDING_CURRENT, TABLES

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from jude.settings import MaintenanceSettings

log = logging.getLogger(__name__)
_MIB: Final = 2**20
_LISTING_TASKS: Final = "spark.sql.sources.parallelPartitionDiscovery.parallelism"


@dataclass(frozen=True, slots=True)
class Maintained:
    """What one pass did to one table."""

    table: str
    files_before: int
    files_after: int
    vacuumed: int
    yielded: bool  # another writer was faster: the next pass tries again


def maintain(root: str, storage_options: Mapping[str, str], settings: MaintenanceSettings) -> list[Maintained]:
    """Run one pass over every table of a folder, with delta-rs. Raises JudeError for one that is missing."""
    return [_maintain(f"{root.rstrip('/')}/{name}", name, dict(storage_options), settings) for name in TABLES]


def maintain_by_spark(spark: SparkSession, tables: Mapping[str, str], settings: MaintenanceSettings) -> None:
    """Run one pass with Spark: for catalogs, and tables that Spark writes. `tables`: name -> as SQL calls it.

    Raises TerminalTableError with Spark's own words.
    """
    # A vacuum below Delta's seven days is the operator's decision, made in the settings.
    spark.conf.set("spark.databricks.delta.retentionDurationCheck.enabled", "false")
    # VACUUM lists files in so many tasks, 10,000 by default: half a minute of one core for a table of ten files.
    spark.conf.set(_LISTING_TASKS, str(4 * spark.sparkContext.defaultParallelism))
    from pyspark.errors import PySparkException

    for name, table in tables.items():
        try:
            if name != EMBEDDING_CURRENT.name:
                _optimize(spark, table)
            spark.sql(f"VACUUM {table} RETAIN {_kept_hours(name, settings)} HOURS").collect()
        except PySparkException as error:
            raise TerminalTableError(f"{table} was not maintained: {str(error).splitlines()[0]}") from error


def _optimize(spark: SparkSession, table: str) -> None:
    from pyspark.errors import PySparkException

    try:
        spark.sql(f"OPTIMIZE {table}").collect()
    except PySparkException as error:
        if "concurrent" not in str(error).lower():
            raise
        log_event(log, logging.INFO, "yielded")


def _maintain(where: str, name: str, options: dict[str, str], settings: MaintenanceSettings) -> Maintained:
    with table_errors(where):
        if not DeltaTable.is_deltatable(where, options or None):
            raise TerminalTableError(f"There is no table {where}: is this the right root? The stream makes it.")
        handle = DeltaTable(where, storage_options=options or None)
        before = len(handle.file_uris())
        yielded = False
        if name != EMBEDDING_CURRENT.name and _has_many_small(handle, settings):
            yielded = not _compacted(handle, settings)
            handle = DeltaTable(where, storage_options=options or None)
        # full: also what a crashed writer left behind, which no commit ever named
        hours = _kept_hours(name, settings)
        removed = handle.vacuum(hours, dry_run=False, enforce_retention_duration=False, full=True)
        handle.create_checkpoint()
        handle.cleanup_metadata()
        done = Maintained(name, before, len(handle.file_uris()), len(removed), yielded)
    log_event(log, logging.INFO, "maintained", table=name, files_count=done.files_after, vacuumed_count=done.vacuumed)
    return done


def _kept_hours(name: str, settings: MaintenanceSettings) -> int:
    return min(settings.retention_hours, CURRENT_HOURS) if name == EMBEDDING_CURRENT.name else settings.retention_hours


def _has_many_small(handle: DeltaTable, settings: MaintenanceSettings) -> bool:
    """Tell whether some partition has more small files than are worth keeping."""
    small: dict[str, int] = {}
    columns: Any = handle.get_add_actions(flatten=False)
    for action in columns.to_struct_array().to_pylist():
        partition = str(action.get("partition") or action.get("partition_values"))
        small[partition] = small.get(partition, 0) + (action["size_bytes"] < settings.target_mib * _MIB // 2)
    return max(small.values(), default=0) > settings.small_files


def _compacted(handle: DeltaTable, settings: MaintenanceSettings) -> bool:
    try:
        handle.optimize.compact(target_size=settings.target_mib * _MIB, max_concurrent_tasks=1)
    except CommitFailedError:
        return False
    except DeltaError as error:
        if "conflict" in str(error).lower() or "concurrent" in str(error).lower():
            return False
        raise
    return True
