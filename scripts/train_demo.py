"""make train-demo: tune the packaged model on real titles with two processes, measure it, register it, search with it.

Ranks are started by TorchDistributor, the optimizer is DeepSpeed's ZeRO-1. What is measured, registered and searched
with is the merged model as the pipeline's own encoder loads it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from jude.cli.eval import say, show_report, spec_of
from jude.cli.options import DEFAULT_CONF, settings_of
from jude.cli.releases import registry_of
from jude.encoder.packaged import MINILM
from jude.evaluation.picture import draw, draw_curve
from jude.evaluation.sets import Places, open_sets
from jude.release.candidates import Candidate, register_candidate
from jude.release.trained import TrainedRun, read_run
from jude.stream.opening import now
from jude.training.launch import train_distributed

CONF = Path("conf/training/demo.yml")
DATA = Path("data/training")
POSTINGS = Path("data/sample/0010-snapshot-of-jobs.jsonl.gz")
FOLDER = Path(".jude/train-demo").absolute()
ASKED = ("Contact Center Mgr", "people who write for government websites")


def main(overrides: list[str]) -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    facts = train_distributed(CONF.absolute(), overrides, FOLDER, ranks=2)
    print(f"trained: {facts['updates']} updates by two processes, {facts['skipped']} skipped")
    run, (sets, _) = read_run(FOLDER), open_sets(["titles"], Places(DATA))
    base = spec_of(MINILM, None, None)
    made = register_candidate(run, registry_of(settings_of(None, None)), base, sets, now(), say)
    show_report(made.report)
    show_files(run, made)
    search("before", {"kind": MINILM})
    search("after", {"kind": "folder", "path": str(made.card.parent)})
    print("\nNext: make demo ENCODER=models:/jude@challenger, or .venv/bin/jude model promote")


def show_files(run: TrainedRun, made: Candidate) -> None:
    (FOLDER / "report.json").write_text(json.dumps(made.report.as_dict(), indent=1))
    print(f"\nregistered   {made.version.uri}, {', '.join(made.version.aliases)}: {made.model_version}")
    print(f"model card   {made.card}")
    print(f"loss curve   {draw_curve(run.lines, FOLDER / 'curve.png')}")
    print(f"quality      {draw(made.report, FOLDER / 'quality.png')}, {FOLDER / 'report.json'}")


def search(name: str, encoder: dict[str, Any]) -> None:
    """Embed the sample's job postings by the stream, with one model, and search them by `jude search`."""
    place = FOLDER / name
    (place / "changes").mkdir(parents=True)
    shutil.copy(POSTINGS, place / "changes")
    settings = {
        "extends": str(DEFAULT_CONF.absolute()),
        "source": {"path": str(place / "changes")},
        "entities": {"folder": str(Path("conf/entities").absolute())},
        "encoder": encoder,
        "stream": {"checkpoint": str(place / "checkpoint")},
        "tables": {"root": str(place / "tables")},
        "online": {"path": str(place / "online.sqlite")},
        "log": {"level": "WARNING"},
    }
    conf = place / "jude.yml"
    conf.write_text(yaml.safe_dump(settings))
    jude("stream", "run", "--available-now", "--conf", str(conf), quiet=True)
    for text in ASKED:
        print(f"\n{name}: jude search {text!r}", flush=True)
        jude("search", text, "--entity", "job", "-k", "3", "--conf", str(conf))


def jude(*arguments: str, quiet: bool = False) -> None:
    ran = subprocess.run([sys.executable, "-m", "jude.cli", *arguments], capture_output=quiet, text=True, check=False)
    if ran.returncode:
        sys.exit(ran.stderr or ran.returncode)


if __name__ == "__main__":
    main(sys.argv[1:])
