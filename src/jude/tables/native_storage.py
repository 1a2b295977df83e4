"""Where the native writer's tables lie: their logs, their file systems, and how files get written and committed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Final

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.fs import DeltaStorageHandler
from pyarrow import fs as pa_fs

from jude.errors import TerminalTableError
from jude.tables.data_files import write_file
from jude.tables.delta_log import Action, Partition, TableLog, VersionTakenError, disk_path
from jude.tables.native_ensure import check_handle
from jude.tables.spec import TableSpec

WRITE_THREADS: Final = 4  # Arrow writes without the GIL


class NativeStorage:
    """The tables under one root. Not thread-safe: NativeTables holds a lock."""

    def __init__(
        self,
        root: str,
        storage_options: Mapping[str, str],
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
        link_commits: bool,
    ) -> None:
        self.options = dict(storage_options)
        self._root = root.removeprefix("file://").rstrip("/")
        self._clock, self._new_id = clock, new_id
        self._link_commits = link_commits and "://" not in self._root
        self._logs: dict[str, TableLog] = {}
        self._filesystems: dict[str, pa_fs.FileSystem] = {}

    def log(self, spec: TableSpec) -> TableLog:
        """The table's log, read up to the newest commit. Raises TerminalTableError if there is no such table."""
        if spec.name not in self._logs:
            where = self.where(spec)
            if not DeltaTable.is_deltatable(where, self.options or None):
                raise TerminalTableError(f"There is no Delta table at {where}: run `ensure` once before writing.")
            self._logs[spec.name] = TableLog(
                spec,
                where,
                self.options,
                self.files_at(spec),
                lambda handle: check_handle(spec, handle, where),
                self._link_commits,
            )
        self._logs[spec.name].refresh()
        return self._logs[spec.name]

    def forget(self) -> None:
        """Open every table anew at its next use."""
        self._logs.clear()

    def write(self, spec: TableSpec, parts: Sequence[tuple[Partition, pa.Table]]) -> list[Action]:
        """Write one file per part and give the `add` actions, in order."""
        files_at, now_ms = self.files_at(spec), self.now_ms()
        jobs = [(partition, rows, self._new_id()) for partition, rows in parts]

        def write(job: tuple[Partition, pa.Table, str]) -> Action:
            return write_file(files_at, spec, *job, now_ms)

        if len(jobs) == 1:
            return [write(jobs[0])]
        with ThreadPoolExecutor(WRITE_THREADS) as pool:
            return list(pool.map(write, jobs))

    def discard(self, spec: TableSpec, written: Sequence[Action]) -> None:
        """Remove files that no commit names; what a crash leaves behind is vacuum's."""
        for action in written:
            self.files_at(spec).delete_file(disk_path(action["add"]["path"]))

    def commits(self, log: TableLog, actions: Sequence[Action], blind: bool) -> bool:
        """Commit; False when another writer was faster."""
        try:
            log.commit(actions, self.now_ms(), "WRITE" if blind else "MERGE", blind)
        except VersionTakenError:
            return False
        return True

    def files_at(self, spec: TableSpec) -> pa_fs.FileSystem:
        """The file system rooted at the table's folder."""
        if spec.name not in self._filesystems:
            where = self.where(spec)
            self._filesystems[spec.name] = (
                pa_fs.PyFileSystem(DeltaStorageHandler(where, self.options))
                if "://" in where
                else pa_fs.SubTreeFileSystem(where, pa_fs.LocalFileSystem())
            )
        return self._filesystems[spec.name]

    def where(self, spec: TableSpec) -> str:
        """The table's folder."""
        return f"{self._root}/{spec.name}"

    def now_ms(self) -> int:
        """Milliseconds since the epoch, for the log."""
        return int(self._clock().timestamp() * 1000)
