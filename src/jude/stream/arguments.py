"""The arguments that every job of jobs/ takes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class JobArguments:
    """What a job was started with."""

    conf: Path
    overrides: tuple[str, ...]


def parse_job_args(argv: Sequence[str] | None, what: str) -> JobArguments:
    """Read --conf, --set and --available-now; ends the process with a usage line when they are wrong."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument(
        "--conf", type=Path, default=Path("conf/local.yml"), help="settings file (default: %(default)s)"
    )
    parser.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="a.b=c", help="override one setting"
    )
    parser.add_argument("--available-now", action="store_true", help="process what is there, then end")
    given = parser.parse_args(argv)
    trigger = ["stream.trigger=available_now"] if given.available_now else []
    return JobArguments(given.conf, tuple(given.overrides + trigger))
