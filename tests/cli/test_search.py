"""`jude search`: the nearest entities, with titles; the hashing encoder finds shared words."""

from __future__ import annotations

from tests.cli.deploying import Deployment, too_wide, words


def test_the_nearest_of_one_entity_type_comes_first(small: Deployment):
    hits = small.ask_json("search", "Title: Baker Bakes bread and wedding cakes.", "--entity", "job", "-k", "2")
    assert hits[0]["entity_id"] == "j1"
    assert len(hits) == 2
    assert (hits[0]["title"], hits[0]["entity_type"]) == ("Baker", "job")
    assert hits[0]["score"] > hits[1]["score"]


def test_without_a_type_each_is_searched(small: Deployment):
    printed = small.ask("search", "Engineer", "-k", "1")
    lines = printed.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == ["job", "member", "resume"]
    assert any("m1  Engineer" in line for line in lines)
    assert "nothing live of this type yet" in printed
    assert too_wide(printed) == []


def test_a_deleted_entity_is_not_found(small: Deployment):
    assert "j4" not in {hit["entity_id"] for hit in small.ask_json("search", "Driver", "--entity", "job")}


def test_markup_and_control_characters_of_a_text_are_shown_as_they_are(empty: Deployment):
    from tests.stories import job, upsert

    empty.apply(upsert("j1", 1, job("[bold red]Chief\x1b[31m :smile: [/]")))
    printed = empty.ask("search", "chief", "--entity", "job")
    assert "[bold red]Chief" in printed
    assert ":smile:" in printed
    assert "\x1b" not in printed


def test_what_cannot_be_searched_is_a_sentence(small: Deployment):
    said = small.ask("search", "cook", "--entity", "jbo", exit_code=1)
    assert said == "There is no entity type 'jbo'. Did you mean job? There are: job, member, resume.\n"
    assert "The text is empty" in small.ask("search", "  ", exit_code=1)


def test_an_empty_deployment_has_nothing_to_search(empty: Deployment):
    assert "Nothing here yet" in empty.ask("search", "cook", exit_code=1)


def test_settings_of_another_model_are_refused(small: Deployment):
    said = words(small.ask("search", "cook", "--set", "encoder.max_tokens=16", exit_code=1))
    assert said.startswith("The vectors in use are of model version hashing-")
    assert "Give the settings of that version (--conf)" in said
