"""Sets come from files in the layouts that their authors published; what is absent is skipped with a word."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jude.errors import TerminalTrainingError
from jude.evaluation.encoding import Vectors, each_once
from jude.evaluation.judged import with_negatives
from jude.evaluation.picture import draw
from jude.evaluation.readers import read_scifact
from jude.evaluation.report import measure
from jude.evaluation.sets import Places, open_sets, pairs_set
from jude.training.data.pairs import checked, read_pairs

SHIPPED = Path(__file__).parents[2] / "data/training"


def table(path: Path, rows: list[dict[str, str]], delimiter: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def public(tmp_path: Path) -> Path:
    melo = tmp_path / "rel_melo_onet_esco"
    table(melo / "queries.tsv.gz", [{"query_id": "q1", "text": "nurse"}], "\t")
    corpus = [{"doc_id": f"d{n}", "text": text, "esco_uri": "x"} for n, text in enumerate(["cook", "nurse", "nurse"])]
    table(melo / "corpus.tsv.gz", corpus, "\t")
    judged = [{"query_id": "q1", "doc_id": "d2", "rel": "1"}, {"query_id": "q1", "doc_id": "d0", "rel": "0"}]
    table(melo / "qrels.tsv.gz", judged, "\t")
    (melo / "published_scores.csv").write_text("system,recip_rank\nweak,0.2\nstrong,0.7\n")
    grades = [
        {"sentence1": a, "sentence2": b, "score": s} for a, b, s in (("a", "a", "5"), ("a", "b", "1"), ("b", "c", "3"))
    ]
    table(tmp_path / "sts_benchmark" / "stsb_en_test.csv.gz", grades, ",")
    return tmp_path


def encode(_: str, texts: Sequence[str]) -> Vectors:
    """Equal texts, equal vectors; the rest is chance, the same every time."""
    seeds = [np.random.default_rng(list(text.encode())).normal(size=8) for text in texts]
    return np.stack([found / np.linalg.norm(found) for found in seeds]).astype(np.float32)


def test_melo_ranks_every_label_and_knows_what_others_reached(public: Path) -> None:
    (melo,), skipped = open_sets(["melo"], Places(SHIPPED, public))
    found = melo.measure(encode)
    assert found.by_query["mrr"].tolist() == [0.5]  # the label's twin is the lower row of two equal scores
    assert list(melo.published) == ["strong", "weak"]
    assert skipped == []


def test_grades_are_correlated_and_classes_are_told_apart(public: Path) -> None:
    (sts,), _ = open_sets(["sts"], Places(SHIPPED, public))
    (report,) = measure("m", encode, [sts]).sets
    assert [line.metric for line in report.lines] == ["spearman"]
    assert report.lines[0].count == 3


def test_what_is_absent_is_skipped_with_a_word(public: Path) -> None:
    found, skipped = open_sets([], Places(SHIPPED, public))
    assert [one.name for one in found] == ["titles", "melo", "sts"]
    assert skipped == [f"scifact is skipped: {public} holds no retrieval_scifact."]
    with pytest.raises(TerminalTrainingError, match=r"nothing to measure on\. melo is skipped: it is not shipped"):
        open_sets(["melo"], Places(SHIPPED))
    with pytest.raises(TerminalTrainingError, match=r"no evaluation set .mello.\. Known: titles, melo"):
        open_sets(["mello"], Places(SHIPPED))
    (public / "rel_melo_onet_esco" / "qrels.tsv.gz").unlink()
    with pytest.raises(TerminalTrainingError, match=r"qrels\.tsv\.gz is missing"):
        open_sets(["melo"], Places(SHIPPED, public))


def test_a_set_that_is_asked_for_is_there_under_its_own_name(public: Path, tmp_path: Path) -> None:
    """A gate that is asked for by a mistyped name must not be passed unseen, nor one by the name of another set."""
    with pytest.raises(
        TerminalTrainingError, match=r"Not every set that was asked for is there\. mine\.parquet: there is no"
    ):
        open_sets(["melo", "mine.parquet"], Places(SHIPPED, public))
    assert [one.name for one in open_sets(["melo", "melo"], Places(SHIPPED, public))[0]] == ["melo"]
    for names in (["sts.parquet"], ["titles", "a/titles.parquet"], ["a/mine.parquet", "b/mine.parquet"]):
        with pytest.raises(TerminalTrainingError, match="which is the name of another set"):
            open_sets(names, Places(SHIPPED, public))


def test_fewer_abstracts_keep_those_that_are_relevant(tmp_path: Path) -> None:
    rows = [json.dumps({"_id": str(n), "title": f"t{n}", "text": f"x{n}"}) for n in range(20)]
    (tmp_path / "corpus.jsonl.gz").write_bytes(gzip.compress("\n".join(rows).encode()))
    claims = [json.dumps({"_id": "c", "text": "claim", "split": "test"})]
    (tmp_path / "queries.jsonl.gz").write_bytes(gzip.compress("\n".join(claims).encode()))
    table(tmp_path / "qrels_test.tsv.gz", [{"query-id": "c", "corpus-id": "17", "score": "1"}], "\t")
    few = read_scifact(tmp_path, most_documents=5)
    assert len(few.documents) == 5
    assert few.documents[few.relevant[0][0]] == "t17 x17"
    assert len(read_scifact(tmp_path).documents) == 20


def test_the_shipped_titles_have_their_slices() -> None:
    (titles,), _ = open_sets(["titles"], Places(SHIPPED))
    assert titles.retrieval is not None
    assert len(titles.retrieval.queries) == 516
    assert {name: int(mask.sum()) for name, mask in titles.slices.items()} == {
        "long text": 126, "cold start": 91, "time-shifted": 226,
    }  # fmt: skip
    assert "none was trained on" in titles.about


def test_slices_are_what_their_names_say() -> None:
    day = datetime(2025, 1, 1, tzinfo=UTC)

    def pairs(queries: list[str], times: list[datetime | None]) -> pa.Table:
        rows = {
            "query_text": queries,
            "query_type": ["member"] * len(queries),
            "document_text": [f"of {q}" for q in queries],
        }
        more = {"document_type": ["job"] * len(queries), "label": [1.0] * len(queries), "time": times}
        return checked(pa.table(rows | more))

    trained = pairs(["Known", *["x"] * 12], [day] * 13)
    read_as_document = pairs_set("s", pairs(["Of X", "new"], [day, day]), trained)
    assert read_as_document.slices["new text"].tolist() == [False, True]
    unseen = pairs(["known", "new", "x"], [day, day.replace(month=9), day])
    found = pairs_set("s", unseen, trained)
    assert found.retrieval is not None
    assert found.retrieval.queries == ["known", "new", "x"]
    assert found.slices["new text"].tolist() == [False, True, False]
    assert found.slices["cold start"].tolist() == [True, True, False]
    assert found.slices["time-shifted"].tolist() == [False, True, False]
    assert found.slices["long text"].tolist() == [True, False, False]


def test_a_negative_is_never_what_the_query_means() -> None:
    (titles,), _ = open_sets(["titles"], Places(SHIPPED))
    assert titles.retrieval is not None
    judged = with_negatives(titles.retrieval)
    known = {
        (query, titles.retrieval.documents[row])
        for query, rows in zip(titles.retrieval.queries, titles.retrieval.relevant, strict=True)
        for row in rows
    }
    said = [(a, b) in known for a, b in zip(judged.first, judged.second, strict=True)]
    assert said == [label == 1 for label in judged.labels]


def test_a_file_of_pairs_is_a_set(tmp_path: Path) -> None:
    rows = {"query_text": ["a", "b"], "document_text": ["x", "y"], "query_type": ["q"] * 2, "document_type": ["d", "e"]}
    pq.write_table(pa.table(rows | {"label": [1.0, 1.0]}), tmp_path / "mine.parquet")
    with pytest.raises(TerminalTrainingError, match="one entity type of document texts; here are d, e"):
        open_sets([str(tmp_path / "mine.parquet")], Places(SHIPPED))


def test_each_text_is_encoded_once() -> None:
    asked: list[str] = []

    def counting(kind: str, texts: Sequence[str]) -> Vectors:
        asked.extend(texts)
        return encode(kind, texts)

    once = each_once(counting)
    once("", ["a", "b", "a"])
    assert once("", ["b", "c"]).shape == (2, 8)
    assert asked == ["a", "b", "c"]


def test_two_models_are_compared_query_by_query(tmp_path: Path) -> None:
    titles = pairs_set("titles", read_pairs(SHIPPED / "unseen.parquet").slice(0, 40), None)
    report = measure("new", encode, [titles], against=("old", encode))
    line = report.sets[0].line("ndcg_at_10")
    assert line is not None
    assert line.gain is not None
    assert (line.gain.difference.mean, line.gain.verdict, line.gain.p) == (0.0, "not told apart", 1.0)
    assert report.sets[0].overlap == 1.0
    assert json.loads(json.dumps(report.as_dict()))["sets"][0]["name"] == "titles"
    assert draw(report, tmp_path / "a" / "picture.png").read_bytes().startswith(b"\x89PNG")
