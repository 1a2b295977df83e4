"""500 batches of the real stream: how files, memory, open descriptors and the checkpoint grow, with maintenance beside.

    python -m benchmarks.soak [--batches 500]

The shipped sample in triggers of 13 records, native writer, SQLite, hashing encoder. Every 50 batches one pass of
maintenance that keeps no replaced file and no commit below the newest checkpoint (a pass every hour would keep those
of the last days). The slopes are those of the second half, per 100 batches: what is cold in the first half is warm
then. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

import numpy as np
from deltalake import DeltaTable

from benchmarks import PROJECT
from benchmarks.measuring.machine import describe, load, say
from benchmarks.measuring.processes import memory
from jude.settings import MaintenanceSettings, Settings, load_settings
from jude.stream.micro_batch import Applied
from jude.stream.run import run_stream
from jude.tables.maintenance import maintain
from jude.tables.spec import TABLES

SAMPLE_RECORDS: Final = 6_711
MAINTAINED_EVERY: Final = 50
LOOKED_AT_EVERY: Final = 10
FORGET_AT_ONCE: Final = {
    "delta.logRetentionDuration": "interval 0 seconds",
    "delta.deletedFileRetentionDuration": "interval 0 seconds",
}


@dataclass(frozen=True, slots=True)
class KeepNothing:
    """Maintenance of a deployment whose readers never look back."""

    target_mib: int = 128
    small_files: int = 32
    retention_hours: int = 0


@dataclass
class Soak:
    """Looks at the stream between its batches."""

    settings: Settings
    began: float = field(default_factory=time.monotonic)
    batches: int = 0
    rows: list[dict[str, float]] = field(default_factory=list)

    def after_batch(self, applied: Applied) -> None:
        self.batches += 1
        if self.batches == 1:
            for name in TABLES:
                self.handle(name).alter.set_table_properties(FORGET_AT_ONCE)
        if self.batches % MAINTAINED_EVERY == 0:
            maintain(str(self.settings.tables.root), {}, cast(MaintenanceSettings, KeepNothing()))
        if self.batches % LOOKED_AT_EVERY == 0:
            self.rows.append({"batches": self.batches, **self.look(), "batch_seconds": sum(applied.seconds.values())})
        if self.batches % (5 * LOOKED_AT_EVERY) == 0:
            say(f"{self.batches:>5} batches, {time.monotonic() - self.began:.0f} s: {_shown(self.rows[-1])}")

    def look(self) -> dict[str, float]:
        root, checkpoint = Path(str(self.settings.tables.root)), Path(self.settings.stream.checkpoint)
        resident = memory()
        return {
            "live_files": sum(len(self.handle(name).file_uris()) for name in TABLES),
            "data_files_on_disk": sum(1 for _ in root.rglob("*.parquet") if "_delta_log" not in _.parts),
            "log_files": sum(1 for _ in root.rglob("_delta_log/*")),
            "log_checkpoints_kib": sum(f.stat().st_size for f in root.rglob("*.checkpoint.parquet")) / 1024,
            "checkpoint_files": sum(1 for _ in checkpoint.rglob("*")),
            "checkpoint_kib": sum(f.stat().st_size for f in checkpoint.rglob("*") if f.is_file()) / 1024,
            "python_mib": resident.python,
            "jvm_mib": resident.jvm,
            "workers_mib": resident.workers,
            "descriptors": len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0,
        }

    def handle(self, table: str) -> DeltaTable:
        """Open a table as a stranger would."""
        return DeltaTable(f"{self.settings.tables.root}/{table}")

    def slopes(self) -> dict[str, float]:
        """Growth per 100 batches over the second half, by least squares."""
        half = self.rows[len(self.rows) // 2 :]
        at = [row["batches"] / 100 for row in half]
        names = [name for name in half[0] if name != "batches"]
        return {f"{name}_per_100": round(float(np.polyfit(at, [row[name] for row in half], 1)[0]), 3) for name in names}


def main(argv: Sequence[str] | None = None) -> None:
    """Soak; the last line is one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--batches", type=int, default=500, help="about as many (default: %(default)s)")
    given = parser.parse_args(argv)
    say(describe())
    with tempfile.TemporaryDirectory(prefix="jude-soak-") as name:
        places = {
            "stream.checkpoint": f"{name}/checkpoint",
            "tables.root": f"{name}/tables",
            "online.path": f"{name}/online.sqlite",
            "source.max_offsets_per_trigger": max(1, SAMPLE_RECORDS // given.batches),
            "log.level": "ERROR",
        }
        settings = load_settings(PROJECT / "conf" / "test.yml", [f"{key}={value}" for key, value in places.items()])
        soak = Soak(settings)
        run_stream(settings, soak.after_batch)
    say(f"At the end, {soak.batches} batches: {_shown(soak.rows[-1])}; {load()}")
    print(json.dumps({"batches": soak.batches, **soak.slopes()}), flush=True)


def _shown(row: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:,.2f}" if value < 10 else f"{name} {value:,.0f}" for name, value in row.items())


if __name__ == "__main__":
    main()
