"""`jude explain`: the whole story of one entity."""

from __future__ import annotations

import pytest

from jude.online import Put, SqliteStore
from tests.cli.deploying import Deployment, too_wide, words


def test_every_change_of_an_entity_is_told_in_order(small: Deployment):
    told = small.ask_json("explain", "job", "j1")
    assert [(step["op"], step["decision"]) for step in told["steps"]] == [
        ("c", "text changed: embedded"),
        ("u", "overtaken within its batch: text kept, not embedded"),
        ("u", "text changed: embedded"),
        (None, "unchanged: changes up to here left the text as it was, no inference"),
    ]
    (now,) = told["now"]
    assert (now["status"], now["stored"], now["online"]) == ("live", True, "serves this vector")
    assert now["input_hash"] == told["steps"][2]["input_hash"] != told["steps"][0]["input_hash"]
    assert now["offset"] == 30


def test_the_excerpt_shows_what_differs(small: Deployment):
    printed = small.ask("explain", "job", "j1")
    assert "Title: Baker Organisation: GSA Location: Remote Bakes bread." in printed
    assert "and wedding cakes." in printed
    assert too_wide(printed) == []


def test_a_shared_vector_was_already_stored(small: Deployment):
    from tests.stories import job, upsert

    small.apply(upsert("j9", 40, job("Cook"), op="c"))
    (step,) = small.ask_json("explain", "job", "j9")["steps"]
    assert step["decision"] == "text changed: its vector was already stored"


def test_a_deleted_entity_has_no_vector_left(small: Deployment):
    told = small.ask_json("explain", "job", "j4")
    assert [step["decision"] for step in told["steps"]][:2] == ["text changed: embedded", "deleted"]
    assert [(now["status"], now["online"]) for now in told["now"]] == [("deleted", "no vector, as it should be")]


def test_a_record_in_quarantine_is_part_of_the_story(small: Deployment):
    printed = small.ask("explain", "job", "j5")
    assert "in quarantine: jude.public.jobs:0:26 (not_json)" in printed


def test_an_online_store_that_lost_or_changed_the_vector_is_noticed(small: Deployment):
    (now,) = small.ask_json("explain", "job", "j1")["now"]
    store = SqliteStore(small.folder / "online.sqlite")
    put = Put(now["model_version"], "job", "j1", "f" * 68, b"\x01" * 128, "float32", 32)
    from tests.stories import NOW

    store.put_many([put], NOW)
    store.close()
    assert "serves another vector: `jude online rebuild`" in small.ask("explain", "job", "j1")
    for file in small.folder.glob("online.sqlite*"):
        file.unlink()
    assert "`jude online rebuild`" in words(small.ask("explain", "job", "j1"))
    assert not (small.folder / "online.sqlite").exists()  # looking makes nothing


def test_another_online_store_needs_no_file(small: Deployment, monkeypatch: pytest.MonkeyPatch):
    server = (small.folder / "online.sqlite").rename(small.folder / "server.sqlite")
    monkeypatch.setattr("jude.cli.served.open_online", lambda settings: SqliteStore(server))
    redis = ("online.kind=redis", "online.redis.url=redis://nowhere")
    told = small.ask_json("explain", "job", "j1", *(f"--set={setting}" for setting in redis))
    assert [now["online"] for now in told["now"]] == ["serves this vector"]


def test_unknown_entities_are_a_sentence(small: Deployment):
    said = small.ask("explain", "job", "j77", exit_code=1)
    assert said == "No table knows job j77; known are for example j1, j2, j3.\n"
    assert "Did you mean member?" in small.ask("explain", "membr", "m1", exit_code=1)


def test_an_empty_deployment_explains_nothing(empty: Deployment):
    assert "Nothing here yet" in empty.ask("explain", "job", "j1", exit_code=1)
