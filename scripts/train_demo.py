"""make train-demo: tune the packaged model on real titles with two processes, and measure what that changed.

Ranks are started by TorchDistributor, the optimizer is DeepSpeed's ZeRO-1. Base and tuned model are both loaded by the
encoder of the pipeline, by an EncoderSpec each: what is measured is what would serve.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from jude.encoder import EncoderSpec, manifest_of, model_version, open_encoder, open_tokeniser
from jude.encoder.packaged import MINILM, find_model
from jude.evaluation import bootstrap, paired
from jude.evaluation.gates import require_release
from jude.evaluation.titles import Encode, Metrics, Retrieval, retrieval_of
from jude.release import register
from jude.tables.native import NativeTables
from jude.training.launch import train_distributed
from jude.training.tracking import track

CONF = Path("conf/training/demo.yml")
DATA = Path("data/training")
FOLDER = Path(".jude/train-demo")
MAX_TOKENS = 48
ASKED = ("Contact Rep", "Lead Park Ranger (Protection)", "Supv IT Spec (INFOSEC)")


def encode_by(spec: EncoderSpec) -> Encode:
    tokeniser, encoder = open_tokeniser(spec), open_encoder(spec)

    def encode(entity_type: str, texts: Sequence[str]) -> NDArray[np.float32]:
        return encoder.encode([found.token_ids for found in tokeniser.inputs(entity_type, list(texts))])

    return encode


def show_metrics(base: Metrics, tuned: Metrics) -> dict[str, float]:
    print(f"\n{'unseen titles':16}{'base':>28}{'tuned':>28}{'tuned - base, paired':>30}")
    for name in base:
        gain = paired(tuned[name], base[name])
        print(f"{name:16}{bootstrap(base[name])!s:>28}{bootstrap(tuned[name])!s:>28}{gain!s:>30}")
    return {
        f"{kind}_{name}": float(np.nanmean(m[name])) for kind, m in (("base", base), ("tuned", tuned)) for name in m
    }


def show_search(collection: Retrieval, encoders: dict[str, Encode], texts: Sequence[str]) -> None:
    for text in texts:
        print(f"\nsearch {text!r}")
        for name, encode in encoders.items():
            scores = encode(collection.document_type, collection.documents) @ encode(collection.query_type, [text])[0]
            best = [f"{collection.documents[row]} {scores[row]:.2f}" for row in np.argsort(-scores)[:3]]
            print(f"  {name:6} {' | '.join(best)}")


def draw_curve(folder: Path) -> Path:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    figure, axes = pyplot.subplots(figsize=(7, 4))
    axes.plot([line["update"] for line in lines], [line["loss"] for line in lines], label="loss (InfoNCE)")
    axes.set(xlabel="update", ylabel="loss", title="Tuning the packaged model on titles")
    axes.legend()
    figure.savefig(folder / "curve.png", dpi=120)
    return folder / "curve.png"


def register_version(spec: EncoderSpec, folder: Path) -> str:
    manifest = manifest_of(spec)
    name = model_version("titles", manifest)
    tables = NativeTables(folder / "tables", buckets=1)
    tables.ensure()
    register(tables, model_version(MINILM, base := manifest_of(EncoderSpec(kind=MINILM))), base, datetime.now(UTC))
    register(tables, name, manifest, datetime.now(UTC))
    states = {row["model_version"]: row["state"] for row in tables.model_versions().to_pylist()}
    return f"{name} ({states[name]})"


def main(overrides: list[str]) -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    facts = train_distributed(CONF.absolute(), overrides, FOLDER.absolute(), ranks=2)
    print(f"trained: {facts['updates']} updates by two processes, {facts['skipped']} skipped")
    base = EncoderSpec(kind=MINILM, max_tokens=MAX_TOKENS)
    folder = str(find_model(MINILM).folder)
    tuned = EncoderSpec(kind="folder", path=folder, adapter=facts["adapter"], max_tokens=MAX_TOKENS)
    train = pq.read_table(DATA / "pairs.parquet", filters=[("source", "=", "usajobs")])
    collection = retrieval_of(pq.read_table(DATA / "unseen.parquet"), train["document_text"].to_pylist())
    print(f"{len(collection.queries)} unseen titles against {len(collection.documents)} occupational series")
    encoders = {"base": encode_by(base), "tuned": encode_by(tuned)}
    before, after = (collection.metrics(encode) for encode in encoders.values())
    measured = show_metrics(before, after)
    print(f"release gate: open, nDCG@10 {require_release(after['ndcg_at_10'], before['ndcg_at_10'])}")
    show_search(collection, encoders, ASKED)
    print(f"\nmodel version  {register_version(tuned, FOLDER)}, in {FOLDER}/tables")
    print(f"MLflow run     {track(FOLDER, f'sqlite:///{FOLDER}/mlflow.db', measured)}, in {FOLDER}/mlflow.db")
    print(f"loss curve     {draw_curve(FOLDER)}")


if __name__ == "__main__":
    main(sys.argv[1:])
