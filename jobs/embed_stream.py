"""Keep embeddings fresh from a stream of database changes.

spark-submit jobs/embed_stream.py --conf conf/local.yml --available-now
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jude.jobs import exit_code
from jude.settings import load_settings
from jude.stream.arguments import parse_job_args
from jude.stream.run import run_stream


def main(argv: Sequence[str] | None = None) -> int:
    """Run until stopped (SIGTERM: finish the batch, commit, end), or with --available-now until all is processed."""
    arguments = parse_job_args(argv, __doc__ or "")
    return exit_code(lambda: run_stream(load_settings(arguments.conf, arguments.overrides)))


if __name__ == "__main__":
    sys.exit(main())
