"""`jude online rebuild`: a lost online store comes back."""

from __future__ import annotations

from tests.cli.deploying import Deployment, words


def test_a_lost_store_is_filled_again(small: Deployment):
    for file in small.folder.glob("online.sqlite*"):
        file.unlink()
    assert small.ask("online", "rebuild") == "4 vectors and 1 tombstone put, 0 were there already.\n"
    assert small.ask_json("explain", "job", "j1")["now"][0]["online"] == "serves this vector"
    assert small.ask_json("online", "rebuild")["already_there"] == 5


def test_where_no_store_is_configured_it_is_a_sentence(small: Deployment):
    said = small.ask("online", "rebuild", "--set", "online.kind=none", exit_code=1)
    assert said == "There is no online store here: online.kind is `none`.\n"


def test_an_empty_deployment_has_nothing_to_rebuild_from(empty: Deployment):
    assert "Nothing here yet" in empty.ask("online", "rebuild", exit_code=1)


def test_a_store_is_held_to_the_tables(small: Deployment):
    assert small.ask("online", "verify") == "5 rows as the tables say, 0 newer than they.\n"
    for file in small.folder.glob("online.sqlite*"):
        file.unlink()
    assert "4 missing" in words(small.ask("online", "verify", exit_code=1))
    assert "4 rows repaired." in small.ask("online", "verify", "--repair")
