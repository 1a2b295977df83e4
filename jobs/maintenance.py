"""Compact, vacuum and checkpoint the tables, beside the stream; run it every hour or so.

spark-submit jobs/maintenance.py --conf conf/prod.yml        python jobs/maintenance.py   (tables in a folder)
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jude.jobs import exit_code
from jude.settings import load_settings
from jude.stream.arguments import parse_job_args
from jude.stream.maintaining import run_maintenance


def main(argv: Sequence[str] | None = None) -> int:
    """Run one pass."""
    arguments = parse_job_args(argv, __doc__ or "")
    return exit_code(lambda: run_maintenance(load_settings(arguments.conf, arguments.overrides)))


if __name__ == "__main__":
    sys.exit(main())
