"""Public evaluation sets, read from the folders that hold them; nothing is downloaded and nothing of it is shipped.

MELO (Retyk et al., RecSys in HR 2024), the STS benchmark (Cer et al., 2017), SciFact (Wadden et al., 2020).
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from jude.errors import TerminalTrainingError
from jude.evaluation.encoding import BARE
from jude.evaluation.judged import Judged
from jude.evaluation.titles import Retrieval

MELO: Final = "rel_melo_onet_esco"
STS: Final = "sts_benchmark"
SCIFACT: Final = "retrieval_scifact"
_MOST_GRADE: Final = 5.0  # of the STS benchmark


def read_melo(folder: Path) -> Retrieval:
    """O*NET titles against all ESCO labels, as the benchmark ranks them; each label is a document of its own."""
    queries = {row["query_id"]: row["text"] for row in _rows(folder / "queries.tsv.gz", "\t")}
    documents = {row["doc_id"]: row["text"] for row in _rows(folder / "corpus.tsv.gz", "\t")}
    judged = [(row["query_id"], row["doc_id"]) for row in _rows(folder / "qrels.tsv.gz", "\t") if row["rel"] != "0"]
    return _collection(queries, documents, judged)


def published_melo(folder: Path) -> dict[str, float]:
    """Give the benchmark's own MRR of other systems, best first; empty where the file is absent."""
    file = folder / "published_scores.csv"
    if not file.exists():
        return {}
    with file.open(newline="") as lines:
        scores = {row["system"]: float(row["recip_rank"]) for row in csv.DictReader(lines)}
    return dict(sorted(scores.items(), key=lambda entry: -entry[1]))


def read_sts(folder: Path) -> Judged:
    """Sentence pairs graded 0 to 5 by people; the test part."""
    rows = list(_rows(folder / "stsb_en_test.csv.gz", ","))
    grades = np.asarray([float(row["score"]) / _MOST_GRADE for row in rows])
    return Judged([row["sentence1"] for row in rows], [row["sentence2"] for row in rows], grades, BARE, BARE)


def read_scifact(folder: Path, most_documents: int | None = None) -> Retrieval:
    """Claims of the test part against abstracts (title and text); `most_documents` keeps all that are relevant.

    Fewer documents make the task easier: such numbers compare two models, and neither with a published one.
    """
    claims = {row["_id"]: row["text"] for row in _json_lines(folder / "queries.jsonl.gz")}
    judged = [
        (row["query-id"], row["corpus-id"]) for row in _rows(folder / "qrels_test.tsv.gz", "\t") if row["score"] != "0"
    ]
    queries = {number: claims[number] for number in dict.fromkeys(query for query, _ in judged)}
    abstracts = {row["_id"]: f"{row['title']} {row['text']}" for row in _json_lines(folder / "corpus.jsonl.gz")}
    kept = _some(list(abstracts), {document for _, document in judged}, most_documents)
    documents = {number: abstracts[number] for number in kept}
    return _collection(queries, documents, judged)


def _some(numbers: list[str], needed: set[str], most: int | None) -> list[str]:
    if most is None or most >= len(numbers):
        return numbers
    others = [number for number in numbers if number not in needed]
    drawn = np.random.default_rng(0).permutation(len(others))[: max(0, most - len(needed))]
    kept = needed | {others[row] for row in drawn}
    return [number for number in numbers if number in kept]


def _collection(queries: dict[str, str], documents: dict[str, str], judged: list[tuple[str, str]]) -> Retrieval:
    place = {number: row for row, number in enumerate(documents)}
    rows: dict[str, list[int]] = {number: [] for number in queries}
    for query, document in judged:
        rows[query].append(place[document])
    relevant = [np.asarray(sorted(found), np.int64) for found in rows.values()]
    return Retrieval(list(queries.values()), list(documents.values()), relevant, BARE, BARE)


def _rows(file: Path, delimiter: str) -> Iterator[dict[str, str]]:
    with _opened(file) as lines:
        tabs = delimiter == "\t"
        yield from csv.DictReader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL)


def _json_lines(file: Path) -> Iterator[dict[str, Any]]:
    with _opened(file) as lines:
        yield from map(json.loads, lines)


def _opened(file: Path) -> Any:  # noqa: ANN401  a text file, whatever gzip calls it
    if not file.exists():
        raise TerminalTrainingError(f"{file} is missing: this folder is not the evaluation set that it is named after.")
    return gzip.open(file, "rt", encoding="utf-8", newline="")
