"""Train adapters of the encoder on labelled pairs; started again, it goes on where the last checkpoint stands.

spark-submit jobs/train.py --conf conf/training/demo.yml --folder .jude/training --ranks 2
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from jude.errors import JudeError
from jude.release.registry import Registry
from jude.release.tracking import track
from jude.release.trained import read_run
from jude.training.launch import train_distributed, train_rank


def main(argv: Sequence[str] | None = None) -> int:
    """Run to the end; prints where the adapter is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--conf", type=Path, required=True, help="a file of conf/training/")
    parser.add_argument("--folder", type=Path, required=True, help="checkpoints, log and adapter; one per run")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="A.B=C")
    parser.add_argument("--ranks", type=int, default=2, help="processes; 0: this one, without Spark and DeepSpeed")
    parser.add_argument("--gpu", action="store_true", help="one GPU per rank")
    parser.add_argument("--store", help="log the finished run to this MLflow store: a folder or a URI")
    parser.add_argument("--on-cluster", action="store_true", help="ranks as barrier tasks; default: all on the driver")
    asked = parser.parse_args(argv)
    try:
        if asked.ranks == 0:
            facts = train_rank(str(asked.conf), asked.overrides, str(asked.folder), "plain")
        else:
            local = not asked.on_cluster
            facts = train_distributed(
                asked.conf.absolute(), asked.overrides, asked.folder.absolute(),
                ranks=asked.ranks, local=local, gpu=asked.gpu,
            )  # fmt: skip
        if asked.store:
            facts["mlflow_run"] = track(read_run(asked.folder), Registry(asked.store, "jude"))
    except JudeError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    sys.stdout.write(json.dumps(facts) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
