"""make train-distil: teacher, stored scores, two students, and how much of the teacher's lead a student takes over.

Some titles of USAJOBS postings are labelled with their series. A cross-encoder is trained on short candidate lists of
these. It scores longer ones, and those of the other titles, whose labels nobody is shown. The plain student is trained
on the labels, the other one on labels and scores, each labelled title as often. What is measured: titles that no list
holds; of each the best documents by the base model, ranked again by every model. A seed is of teacher and students
alike, and of the order of the lists' pairs; the lists are the same.

python -m scripts.distil --teacher-base FOLDER      a teacher of another base, a larger one say, beside the first one
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jude.encoder import EncoderSpec
from jude.encoder.packaged import MINILM, find_model
from jude.evaluation import bootstrap, ndcg_at, paired, ranks_of, reciprocal_ranks
from jude.evaluation.encoding import encode_by
from jude.evaluation.intervals import gap_bridged
from jude.evaluation.titles import Retrieval
from jude.training.data.pairs import checked, laid_out
from jude.training.teacher import Teacher
from scripts.title_lists import MODEL, title_lists, title_pairs, unseen_titles, write_whole

FOLDER: Final = Path(".jude/distil")
STUDENT: Final = Path("conf/training/distil.yml")
LABELLED: Final = 3000  # titles, of about 5,600
SHORT, LONG = (4, 3), (12, 4)  # negatives of a list: mined by the base model, and drawn
UNLABELLED: Final = 16  # candidates of a title without a label: the base model's best
CANDIDATES: Final = 40  # of an unseen title
MODELS: Final = ("plain", "distilled", "teacher")
PLAIN: Final = (
    f"phases.0.pairs={FOLDER}/labelled.parquet", "batch.pairs=512", "phases.0.loss.kd=0", "phases.0.scores=null"
)  # fmt: skip

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def run_job(name: str, *arguments: str) -> None:
    subprocess.run([sys.executable, f"jobs/{name}.py", *arguments], check=True)


def train(conf: Path, folder: Path, overrides: Sequence[str] = ()) -> None:
    sets = [part for override in overrides for part in ("--set", override)]
    run_job("train", "--conf", str(conf), "--folder", str(folder), "--ranks", "0", *sets)


def make_lists() -> None:
    labelled = title_lists(LABELLED, *LONG)
    scored = pa.concat_tables([labelled, unlabelled_lists(labelled)], promote_options="default")
    made = {"lists": title_lists(LABELLED, *SHORT), "labelled": labelled, "scored": scored}
    for name, lists in made.items():
        write_whole(lists, FOLDER / f"{name}.parquet")


def unlabelled_lists(labelled: pa.Table) -> pa.Table:
    """Lists of the titles that are not among the labelled ones; no label tells what is in them."""
    trained = title_pairs()[1]
    documents = sorted(set(trained["document_text"].to_pylist()))
    titles = sorted(set(trained["query_text"].to_pylist()) - set(labelled["query_text"].to_pylist()) - set(documents))
    best = best_by_base(Retrieval(titles, documents, [], "member", "job"), UNLABELLED)
    pairs = {"query_text": np.repeat(titles, UNLABELLED).tolist(), "query_type": ["member"] * best.size,
             "document_text": [documents[number] for number in best.ravel()], "document_type": ["job"] * best.size,
             "label": pa.array(np.zeros(best.size, np.float32)),
             "list": pa.array(-1 - np.repeat(np.arange(len(titles)), UNLABELLED))}  # fmt: skip
    return checked(pa.table(pairs))


def nominated(collection: Retrieval) -> Ints:
    """The base model's best documents of each query: [Q, K]; a match that is not among them takes the last place."""
    best = best_by_base(collection, CANDIDATES)
    for row, relevant in enumerate(collection.relevant):
        if not np.isin(best[row], relevant).any():
            best[row, -1] = relevant[0]
    return best


def best_by_base(collection: Retrieval, count: int) -> Ints:
    scores = cosines(collection, EncoderSpec(kind=MINILM, max_tokens=MODEL.max_tokens))
    return np.argsort(-scores, axis=1, kind="stable")[:, :count]


def cosines(collection: Retrieval, spec: EncoderSpec) -> Floats:
    encode = encode_by(spec)
    queries = encode(collection.query_type, collection.queries)
    return queries @ encode(collection.document_type, collection.documents).T


def student_scores(collection: Retrieval, candidates: Ints, folder: Path) -> Floats:
    path = str(find_model(MINILM).folder)
    spec = EncoderSpec(kind="folder", path=path, adapter=str(folder / "adapter"), max_tokens=MODEL.max_tokens)
    return np.take_along_axis(cosines(collection, spec), candidates, axis=1)


def teacher_scores(collection: Retrieval, candidates: Ints, folder: Path) -> Floats:
    pairs = {
        "query_text": np.repeat(collection.queries, CANDIDATES).tolist(),
        "document_text": [collection.documents[number] for number in candidates.ravel()],
    }
    types = {"query_type": collection.query_type, "document_type": collection.document_type}
    table = {**pairs, **{name: [value] * candidates.size for name, value in types.items()}}
    labelled = {**table, "label": pa.array(np.zeros(candidates.size, np.float32))}
    return Teacher(folder / "adapter").score(laid_out(pa.table(labelled))).reshape(candidates.shape)


def report(collection: Retrieval, candidates: Ints, by_seed: dict[int, dict[str, Floats]]) -> None:
    relevant = [np.flatnonzero(np.isin(row, right)) for row, right in zip(candidates, collection.relevant, strict=True)]
    print(f"\n{len(collection.queries)} unseen titles, {CANDIDATES} candidates each, ranked again; seeds {[*by_seed]}")
    measures = {"nDCG@10": partial(ndcg_at, k=10), "MRR@10": partial(reciprocal_ranks, k=10)}
    for measure, of in measures.items():
        found_by = {
            seed: {name: of(ranks_of(found, relevant)) for name, found in scores.items()}
            for seed, scores in by_seed.items()
        }
        for seed, of_seed in found_by.items():
            print(f"  {measure:8} gap bridged, seed {seed} {bridged(of_seed)}")
        values = {name: np.mean([of_seed[name] for of_seed in found_by.values()], axis=0) for name in MODELS}
        for name, found in values.items():
            print(f"  {measure:8} {name:10} {bootstrap(found)}")
        print(f"  {measure:8} teacher - plain    {paired(values['teacher'], values['plain'])}")
        print(f"  {measure:8} distilled - plain  {paired(values['distilled'], values['plain'])}")
        print(f"  {measure:8} gap bridged        {bridged(values)}")


def bridged(values: dict[str, NDArray[np.float64]]) -> str:
    found = gap_bridged(values["plain"], values["distilled"], values["teacher"])
    return "undefined: the teacher does not surely lead" if found is None else f"{found:.2f}"


def trained(seed: int, teacher_base: Path | None) -> dict[str, Path]:
    """Make what is not there yet: the teacher, its scores, both students (the plain one is of no teacher)."""
    folder, of_seed = FOLDER / str(seed), f"run.seed={seed}"
    of_base = f"-{teacher_base.name}" if teacher_base else ""
    runs = {"plain": folder / "plain", **{name: folder / f"{name}{of_base}" for name in MODELS[1:]}}
    lists, scores = FOLDER / "scored.parquet", folder / f"scores{of_base}"
    other = [f"model.base={teacher_base.absolute()}"] if teacher_base else []
    train(Path("conf/training/teacher.yml"), runs["teacher"], [of_seed, *other])
    teacher = str(runs["teacher"] / "adapter")
    run_job("score_pairs", "--pairs", str(lists), "--teacher", teacher, "--scores", str(scores), "--master", "local[2]")
    train(STUDENT, runs["plain"], [of_seed, *PLAIN])
    train(STUDENT, runs["distilled"], [of_seed, f"phases.0.scores={scores}"])
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--teacher-base", type=Path, help="folder of the teacher's base; default: the students' own")
    parser.add_argument("--anew", action="store_true", help="forget what an earlier run has made")
    asked = parser.parse_args()
    if asked.anew:
        shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    if not (FOLDER / "scored.parquet").exists():
        make_lists()
    runs = {seed: trained(seed, asked.teacher_base) for seed in asked.seeds}
    collection = unseen_titles()
    candidates = nominated(collection)
    report(collection, candidates, {seed: scores_of(collection, candidates, of) for seed, of in runs.items()})


def scores_of(collection: Retrieval, candidates: Ints, runs: dict[str, Path]) -> dict[str, Floats]:
    *students, teacher = MODELS
    found = {name: student_scores(collection, candidates, runs[name]) for name in students}
    return {**found, teacher: teacher_scores(collection, candidates, runs[teacher])}


if __name__ == "__main__":
    main()
