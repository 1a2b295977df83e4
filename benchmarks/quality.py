"""What tuning changed: several seeds of a run beside their base, on the trade's sets and on sets of no trade.

    for seed in 0 1 2; do
      python jobs/train.py --conf conf/training/demo.yml --folder RUNS/seed$seed --ranks 0 --set run.seed=$seed
    done
    python -m benchmarks.quality RUNS/seed0 RUNS/seed1 RUNS/seed2 --data FOLDER --documents 700

The base is embedded once. Prints a table per set (Markdown) and one JSON object on the last line.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np

from jude.cli.eval import percent, spec_of
from jude.encoder import open_tokeniser
from jude.encoder.packaged import MINILM
from jude.evaluation.encoding import Encode, Vectors, each_once, encode_by
from jude.evaluation.report import Report, measure
from jude.evaluation.sets import Places, open_sets

TOLD = ("mrr", "ndcg_at_10", "recall_at_100", "map", "auc", "spearman")


def main() -> None:
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.quality", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("runs", type=Path, nargs="+", help="folders of training runs that differ by their seed")
    options.add_argument("--data", type=Path, help="folder of the public sets")
    options.add_argument("--documents", type=int, help="of scifact at most")
    options.add_argument("--on", action="append", help="a set; repeatable; default: all that are there")
    options.add_argument("--set", dest="overrides", action="append", metavar="A.B=C", help="encoder.compute=bfloat16")
    options.add_argument("--keep", type=Path, help="folder for vectors: a second call goes on where one was stopped")
    asked = options.parse_args()
    sets, skipped = open_sets(asked.on or [], Places(Path("data/training"), asked.data, asked.documents))
    for sentence in skipped:
        print(sentence, file=sys.stderr)
    base = (MINILM, encoding(MINILM, asked))
    reports = []
    for run in asked.runs:
        tuned = encoding(str(run), asked)
        reports.append(measure(run.name, tuned, sets, against=base, say=lambda line: print(line, file=sys.stderr)))
    show(reports)
    print(json.dumps({report.model: report.numbers() for report in reports}))


def encoding(model: str, asked: argparse.Namespace) -> Encode:
    spec = spec_of(model, None, asked.overrides)
    encode = encode_by(spec)
    return encode if asked.keep is None else each_once(kept(encode, asked.keep, open_tokeniser(spec).model_version))


def kept(encode: Encode, folder: Path, model_version: str) -> Encode:
    """Vectors from disk where they lie there."""
    folder.mkdir(parents=True, exist_ok=True)

    def encode_or_read(entity_type: str, texts: Sequence[str]) -> Vectors:
        file = folder / f"{sha256(json.dumps([model_version, entity_type, *texts]).encode()).hexdigest()}.npy"
        if not file.exists():
            np.save(file, encode(entity_type, texts))
        found: Vectors = np.load(file)
        return found

    return encode_or_read


def show(reports: list[Report]) -> None:
    for number, one in enumerate(reports[0].sets):
        print(f"\n{one.name}: {one.about}\n")
        print(f"| metric | base | {' | '.join(report.model for report in reports)} | mean gain, range |")
        print("|---|---|" + "---|" * (len(reports) + 1))
        for line in [line for line in one.lines if line.metric in TOLD]:
            found = [next(x for x in r.sets[number].lines if (x.metric, x.slice) == (line.metric, line.slice))
                     for r in reports]  # fmt: skip
            assert line.gain
            gains = [x.gain.difference.mean for x in found if x.gain]
            cells = [f"{100 * x.estimate.mean:.1f}, {percent(x.gain.difference, '+')}" for x in found if x.gain]
            spread = f"{100 * np.mean(gains):+.1f}, {100 * min(gains):+.1f} to {100 * max(gains):+.1f}"
            name = f"{line.metric.replace('_at_', '@')}{f', {line.slice} ({line.count})' if line.slice else ''}"
            print(f"| {name} | {percent(line.gain.old)} | {' | '.join(cells)} | {spread} |")


if __name__ == "__main__":
    main()
