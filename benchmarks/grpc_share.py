"""How much of the embedding server's bulk capacity a bulk load in Spark reaches over gRPC, on one machine.

    make bench-grpc      # or: python -m benchmarks.grpc_share [--texts 8000] [--repeats 2]

The bulk capacity is that of the same client over the same inputs in a bare loop, asked as fast as the server answers.
Spark, the tables and the server share the cores.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.changes.streams import SHARED
from benchmarks.job.model_share import MODEL, throughput_share
from benchmarks.measuring.machine import describe, say
from benchmarks.servers.ours import serving


def main(argv: Sequence[str] | None = None) -> None:
    """Print a line per run, then one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.grpc_share")
    parser.add_argument("--texts", type=int, default=8_000)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--shared", type=Path, default=SHARED, help="where the recorded streams lie")
    given = parser.parse_args(argv)
    say(describe())
    with serving(f"encoder.kind={MODEL}", "encoder.width=null") as server:
        overrides = {"encoder.kind": "grpc", "encoder.width": "null", "encoder.server.target": server.target}
        found = throughput_share(given.shared, texts=given.texts, repeats=given.repeats, overrides=overrides)
        say(f"CPU seconds of the server in all: {server.cpu_seconds():.1f}")
    print(json.dumps({"spark_over_grpc_share": found["model_throughput_share"]}), flush=True)


if __name__ == "__main__":
    main()
