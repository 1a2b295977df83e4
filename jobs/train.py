"""Train adapters of the encoder on labelled pairs; started again, it goes on where the last checkpoint stands.

spark-submit jobs/train.py --conf conf/training/demo.yml --folder .jude/training --ranks 2
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from jude.jobs import exit_code
from jude.release.registry import Registry
from jude.release.tracking import track
from jude.release.trained import read_run
from jude.training.launch import locked_run, train_distributed, train_rank
from jude.training.reading import load_training


def main(argv: Sequence[str] | None = None) -> int:
    """Run to the end; prints where the adapter is."""
    asked = _parse(argv)
    return exit_code(lambda: _train(asked))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--conf", type=Path, required=True, help="a file of conf/training/")
    parser.add_argument("--folder", type=Path, required=True, help="checkpoints, log and adapter; one per run")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="A.B=C")
    parser.add_argument(
        "--ranks", type=_ranks, default=2, metavar="N", help="processes; 0: this one, without Spark and DeepSpeed"
    )
    parser.add_argument("--gpu", action="store_true", help="one GPU per rank")
    parser.add_argument("--store", help="log the finished run to this MLflow store: a folder or a URI")
    parser.add_argument("--on-cluster", action="store_true", help="ranks as barrier tasks; default: all on the driver")
    return parser.parse_args(argv)


def _ranks(given: str) -> int:
    if not given.isdecimal():
        raise argparse.ArgumentTypeError(f"{given} is no number of processes: 0 or more")
    return int(given)


def _train(asked: argparse.Namespace) -> str:
    conf, folder = asked.conf.absolute(), asked.folder.absolute()
    load_training(conf, asked.overrides)  # a mistake is told before ranks start
    with locked_run(folder):
        if asked.ranks == 0:
            facts = train_rank(str(conf), asked.overrides, str(folder), "plain")
        else:
            local = not asked.on_cluster
            facts = train_distributed(conf, asked.overrides, folder, ranks=asked.ranks, local=local, gpu=asked.gpu)
    if asked.store:
        facts["mlflow_run"] = track(read_run(folder), Registry(asked.store, "jude"))
    return json.dumps(facts)


if __name__ == "__main__":
    sys.exit(main())
