"""One text per entity, in the order that its file says."""

from __future__ import annotations

import json
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from jude.entities import Entity, TextField
from jude.text import normalise, render

JOB = Entity(
    name="job",
    topic="jobs",
    key="id",
    text_fields=(TextField("title", "Title"), TextField("skills", "Skills", "list"), TextField("description")),
    title_field="title",
    volatile=(r"\d+ views",),
)


def test_fields_stand_in_order_with_their_labels() -> None:
    text = render(JOB, {"description": "We  cook.", "salary": "9", "title": "Cook", "skills": '["Fish", "Bread"]'})

    assert text == "Title: Cook\nSkills: Bread, Fish\nWe cook."


def test_empty_fields_are_left_out() -> None:
    assert render(JOB, {"title": " ", "skills": '[null, ""]', "description": "<p>17 views</p>We cook."}) == "We cook."


def test_nothing_is_left_of_an_empty_entity() -> None:
    assert render(JOB, {"title": None, "description": "<p>&nbsp;</p>", "skills": "[]"}) == ""


def test_a_list_is_a_set() -> None:
    lists = [
        '["sql", "Java", "c"]',
        '["c","Java","sql","JAVA","sql"]',
        '["JAVA", "sql", "Java", "c", null, " "]',
        "sql\nc\nJava\nJAVA",
    ]
    mixed_case = [render(JOB, {"skills": skills}) for skills in lists]

    assert mixed_case[0] == "Skills: c, Java, sql"
    assert mixed_case[1:] == ["Skills: c, JAVA, sql"] * 3  # of two spellings always the same one


def test_a_list_may_hold_numbers_or_not_be_one() -> None:
    assert render(JOB, {"skills": '[3, 1.5, true, {"b": 1, "a": 2}]'}) == 'Skills: 1.5, 3, true, {"a": 2, "b": 1}'
    assert render(JOB, {"skills": "[Not JSON"}) == "Skills: [Not JSON"
    assert render(JOB, {"skills": "[" * 100_000}) == "Skills: " + "[" * 100_000
    assert render(JOB, {"skills": "Washington, DC"}) == "Skills: Washington, DC"


@given(st.lists(st.text(max_size=5)), st.randoms())
def test_order_and_repeats_of_a_list_do_not_matter(items: list[str], random: Random) -> None:
    shuffled = items + items[:2]
    random.shuffle(shuffled)

    assert render(JOB, {"skills": json.dumps(items)}) == render(JOB, {"skills": json.dumps(shuffled)})


@given(st.text(), st.text())
def test_normalised_fields_render_to_the_same_text(title: str, description: str) -> None:
    normal = {"title": normalise(title, JOB.volatile), "description": normalise(description, JOB.volatile)}

    assert render(JOB, normal) == render(JOB, {"title": title, "description": description})
