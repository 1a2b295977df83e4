"""`jude eval` on a file of pairs, with the hashing encoder: a table, JSON, a picture, and errors that are sentences."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from jude.cli.app import app
from tests.stories import CONF

WORDS = ("nurse", "teacher", "welder", "baker", "lawyer", "pilot", "farmer", "actor")


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    rows = {
        "query_text": [f"senior {word}" for word in WORDS],
        "query_type": ["member"] * len(WORDS),
        "document_text": [f"we look for a {word}" for word in WORDS],
        "document_type": ["job"] * len(WORDS),
        "label": pa.array([1.0] * len(WORDS), pa.float32()),
    }
    pq.write_table(pa.table(rows), tmp_path / "mine.parquet")
    return tmp_path / "mine.parquet"


def jude(*arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--conf", str(CONF / "test.yml"), "--set", "encoder.kind=hashing"])


def test_two_encoders_are_compared(pairs: Path, tmp_path: Path) -> None:
    picture = tmp_path / "quality.png"
    ran = jude("eval", "--model", "hashing", "--against", "hashing", "--on", str(pairs), "--picture", str(picture))
    assert ran.exit_code == 0
    assert "mine: 8 texts against 8 documents" in ran.stdout
    line = next(line for line in ran.stdout.splitlines() if line.startswith("ndcg@10"))
    assert "+0.0 [+0.0,+0.0]" in line
    assert "The first documents of both are 100% the same." in ran.stdout
    assert max(map(len, ran.stdout.splitlines())) <= 130  # the head of a set is one line; tables fit 80
    assert picture.exists()


def test_the_cut_off_is_chosen_and_json_holds_everything(pairs: Path) -> None:
    ran = jude("eval", "--on", str(pairs), "-k", "3", "--json")
    (found,) = json.loads(ran.stdout)["sets"]
    metrics = [line["metric"] for line in found["lines"] if not line["slice"]]
    assert metrics == ["mrr", "mrr_at_3", "ndcg_at_3", "recall_at_100", "map", "auc", "ece"]
    assert found["lines"][0]["estimate"]["low"] <= found["lines"][0]["estimate"]["mean"]


def test_what_cannot_be_measured_is_a_sentence(pairs: Path) -> None:
    nothing = jude("eval", "--on", "melo")
    assert (nothing.exit_code, "melo is skipped: it is not shipped" in nothing.stderr) == (1, True)
    nobody = jude("eval", "--model", "no-such-model", "--on", str(pairs))
    assert (nobody.exit_code, "There is no model 'no-such-model'" in nobody.stderr) == (1, True)
    strange = jude("eval", "--on", str(pairs), "--picture", "quality.foo")
    assert (strange.exit_code, strange.stderr) == (1, "--picture quality.foo: a picture ends in .png or .svg.\n")
