"""An entity is its file; the render version moves with the text and with nothing else."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jude.entities import Entities, Entity, TextField, load_entities

CONF = Path(__file__).parents[2] / "conf" / "entities"

JOB = Entity(
    name="job",
    topic="jobs",
    key="id",
    text_fields=(TextField("title", "Title"), TextField("skills", "Skills", "list")),
    title_field="title",
)


def test_the_shipped_entities_load() -> None:
    entities = load_entities(CONF)

    assert list(entities) == ["job", "member", "resume"]
    assert [e.topic for e in entities.values()] == ["jude.public.jobs", "jude.public.members", "jude.public.resumes"]
    assert [f.name for f in entities["job"].text_fields] == ["title", "organisation", "location", "description"]
    assert [f.kind for f in entities["resume"].text_fields] == ["text", "text", "list", "text"]


def test_an_entity_is_found_by_its_topic() -> None:
    entities = Entities([JOB])

    assert entities.of_topic("jobs") is entities["job"]
    assert entities.of_topic("jobs.other") is None


def test_entities_travel() -> None:
    entities = load_entities(CONF)
    assert entities["job"].render_version  # cached before the journey

    arrived = pickle.loads(pickle.dumps(entities))

    assert arrived == entities
    assert arrived["job"].render_version == entities["job"].render_version
    assert arrived.of_topic("jude.public.jobs").name == "job"


@pytest.mark.parametrize(
    "changed",
    [
        {"text_fields": (TextField("skills", "Skills", "list"), TextField("title", "Title"))},
        {"text_fields": (TextField("title", "Job"), TextField("skills", "Skills", "list"))},
        {"text_fields": (TextField("title", "Title"), TextField("skills", "Skills"))},
        {"text_fields": (TextField("title", "Title"),)},
        {"volatile": (r"\d+ views",)},
    ],
)
def test_what_changes_the_text_changes_the_render_version(changed: dict[str, Any]) -> None:
    assert replace(JOB, **changed).render_version != JOB.render_version


@pytest.mark.parametrize(
    "changed", [{"name": "post"}, {"topic": "t"}, {"key": "k"}, {"prompt": "passage: "}, {"max_text_bytes": 9}]
)
def test_what_leaves_the_text_alone_leaves_the_render_version(changed: dict[str, Any]) -> None:
    assert replace(JOB, **changed).render_version == JOB.render_version


def test_the_render_version_of_a_shipped_entity_is_known() -> None:
    """If this fails, every stored text of every deployment is hashed and compared anew: is that meant?"""
    assert load_entities(CONF)["job"].render_version == "dfbd172a"
