"""Companies become searchable by one YAML file: before their first change arrives, or after it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest

from jude.changes.recorded import read_records
from jude.cli.place import open_place
from jude.cli.quarantine import replay
from jude.cli.search import search_text
from jude.settings import Settings, load_settings
from jude.stream.micro_batch import apply_batch
from jude.stream.opening import open_pipeline
from jude.stream.planned import plan_on_driver
from jude.tables.protocol import Txn
from jude.tables.reading import current_pointers, open_quarantine
from tests.stories import CONF
from tests.stream.reading import rows_of
from tests.stream.test_stream import stream

SAMPLES = CONF.parent / "data"
COMPANIES = sorted((SAMPLES / "sample-companies").glob("*.jsonl.gz"))

COMPANY_YML = """
name: company
topic: jude.public.companies
key: id
text_fields:
  - {name: name, label: Name}
  - {name: description}
  - {name: region, label: Region}
  - {name: technologies, label: Technologies}
title_field: name
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of conf/, and the sample's first jobs, members and resumes."""
    shutil.copytree(CONF, tmp_path / "conf")
    (tmp_path / "changes").mkdir()
    shutil.copy(SAMPLES / "sample" / "0001-snapshot.jsonl.gz", tmp_path / "changes")
    return tmp_path


def settings_of(project: Path) -> Settings:
    return load_settings(project / "conf" / "test.yml", ["source.path=changes"])


def add_companies(project: Path) -> None:
    (project / "conf" / "entities" / "company.yml").write_text(COMPANY_YML)


def companies() -> tuple[dict[str, str], set[str]]:
    """The newest name of each company that is left, and the ids of those that are gone."""
    names: dict[str, str] = {}
    gone: set[str] = set()
    for row in pa.concat_tables([read_records(path) for path in COMPANIES]).to_pylist():
        if row["topic"] != "jude.public.companies" or row["value"] is None:
            continue
        change, key = orjson.loads(row["value"]), orjson.loads(row["key"])["id"]
        if change["op"] == "d":
            gone.add(key)
            del names[key]
        else:
            gone.discard(key)
            names[key] = change["after"]["name"]
    return names, gone


def state(settings: Settings, entity_type: str | None = None) -> list[dict[str, Any]]:
    """Pointers and remembered texts as they are now."""
    rows = rows_of(Path(str(settings.tables.root)), "embedding_current", without=["available_at"])
    return [row for row in rows if entity_type in (None, row["entity_type"])]


def check_companies(settings: Settings) -> None:
    """The tables hold every company as it is now, and a search finds one by what it says of itself."""
    names, gone = companies()
    assert {r["entity_id"] for r in state(settings, "company") if r["status"] == "live"} == set(names)
    assert {r["entity_id"] for r in state(settings, "company") if r["status"] == "deleted"} == gone
    place = open_place(settings)
    pointers = current_pointers(place.root, "company", place.model_version).to_pylist()
    wanted = next(row for row in pointers if row["entity_id"] == "artefactual")
    text = next(
        row["text"]
        for row in rows_of(Path(place.root), "text_history")
        if (row["entity_id"], row["position"]) == ("artefactual", wanted["text_position"])
    )
    (results,) = search_text(place, text, "company", k=3)
    assert (results.entity_type, len(results.hits)) == ("company", 3)
    assert (results.hits[0].entity_id, results.hits[0].title) == ("artefactual", names["artefactual"])
    assert results.hits[0].score == pytest.approx(1.0, abs=1e-5)
    assert results.hits[1].score < 0.99


@pytest.mark.spark
@pytest.mark.timeout(900)
def test_a_fourth_entity_is_one_file(spark: Any, project: Path):
    stream(spark, settings_of(project))
    before = state(settings_of(project))
    assert {row["entity_type"] for row in before} == {"job", "member", "resume"}

    add_companies(project)
    for path in COMPANIES:
        shutil.copy(path, project / "changes" / f"1{path.name}")
    stream(spark, settings_of(project))
    check_companies(settings_of(project))
    others = [row for row in state(settings_of(project)) if row["entity_type"] != "company"]
    assert others == before, "a new entity type leaves the others' rows alone"
    assert open_quarantine(settings_of(project).tables.root or "").num_rows == 0


def test_an_entity_that_is_configured_late_gets_what_waited_in_quarantine(project: Path):
    feed(settings_of(project), pa.concat_tables([read_records(path) for path in COMPANIES]))
    waiting = open_quarantine(settings_of(project).tables.root or "")
    assert set(waiting["error_class"].to_pylist()) == {"unknown_topic"}

    add_companies(project)
    replayed = replay(open_place(settings_of(project)), [], everything=True)
    assert (replayed.closed, replayed.still_open) == (waiting.num_rows, 0)
    check_companies(settings_of(project))


def feed(settings: Settings, records: pa.Table) -> None:
    """One batch, without Spark."""
    pipeline = open_pipeline(settings)
    try:
        apply_batch(lambda: plan_on_driver(records, pipeline), pipeline, Txn("stream", "q1", 0))
    finally:
        pipeline.online.close()
