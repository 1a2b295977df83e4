"""`jude quarantine`: look at what could not be applied, mend the cause, feed it back - once or twice."""

from __future__ import annotations

from tests.cli.deploying import Deployment, too_wide
from tests.stories import job, upsert

BROKEN = "jude.public.jobs:0:26"
LONG = "jude.public.jobs:0:50"


def test_an_empty_deployment_has_no_quarantine(empty: Deployment):
    assert empty.ask("quarantine", "list").startswith("Nothing here yet")
    empty.apply(upsert("j1", 1, job()))
    assert empty.ask("quarantine", "list") == "Nothing is in quarantine.\n"
    assert empty.ask("quarantine", "replay", "--all") == "Nothing is in quarantine.\n"


def test_the_list_says_what_is_wrong_with_each_record(small: Deployment):
    printed = small.ask("quarantine", "list")
    assert printed.splitlines()[0] == BROKEN
    assert "not_json, job j5, 1 attempt, 2026-01-01" in printed
    assert too_wide(printed) == []
    (row,) = small.ask_json("quarantine", "list")
    assert (row["quarantine_id"], row["error_class"], row["attempts"]) == (BROKEN, "not_json", 1)


def test_a_record_is_shown_whole(small: Deployment):
    printed = small.ask("quarantine", "show", BROKEN)
    lines = {line.split(None, 1)[0]: line.split(None, 1)[1] for line in printed.splitlines()}
    assert (lines["key"], lines["value"], lines["source_epoch"]) == ('{"id":"j5"}', "{broken", "0")


def test_a_text_too_long_stays_until_the_limit_is_raised_and_is_applied_once(empty: Deployment):
    empty.limit_texts("job", 60)
    empty.apply(upsert("j1", 49, job("Cook"), op="c"), upsert("j2", 50, job("Baker", "Bakes " * 20), op="c"))
    assert [row["error_class"] for row in empty.ask_json("quarantine", "list")] == ["text_too_large"]

    assert empty.ask("quarantine", "replay", LONG) == "0 records replayed, 1 failed again and stay open.\n"
    assert [row["attempts"] for row in empty.ask_json("quarantine", "list")] == [2]

    empty.limit_texts("job", 1000)
    assert empty.ask("quarantine", "replay", "--all") == "1 record replayed.\n"
    assert empty.ask_json("quarantine", "list") == []
    (now,) = empty.ask_json("explain", "job", "j2")["now"]
    assert (now["status"], now["online"]) == ("live", "serves this vector")

    before = empty.contents()
    assert "Not open in quarantine" in empty.ask("quarantine", "replay", LONG, exit_code=1)
    assert empty.ask("quarantine", "replay", "--all") == "Nothing is in quarantine.\n"
    assert empty.contents() == before


def test_a_record_that_a_newer_change_has_overtaken_is_closed_and_changes_nothing(empty: Deployment):
    empty.limit_texts("job", 60)
    empty.apply(upsert("j2", 50, job("Baker", "Bakes " * 20), op="c"))
    empty.apply(upsert("j2", 51, job("Cook")))
    empty.limit_texts("job", 1000)
    assert empty.ask_json("quarantine", "replay", LONG) == {"closed": 1, "still_open": 0}
    assert [hit["title"] for hit in empty.ask_json("search", "baker", "--entity", "job")] == ["Cook"]


def test_what_to_replay_must_be_said(small: Deployment):
    for arguments in ((), (LONG, "--all")):
        assert "or give --all; not both" in small.ask("quarantine", "replay", *arguments, exit_code=1)
    said = small.ask("quarantine", "replay", LONG, BROKEN, exit_code=1)
    assert said == f"Not open in quarantine: {LONG}. `jude quarantine list` shows what is.\n"


def test_what_nobody_can_mend_is_dismissed_and_stays_in_the_table(small: Deployment):
    before = small.contents()
    assert small.ask("quarantine", "dismiss", BROKEN, "--reason", "a test", "--yes") == "1 record dismissed.\n"
    assert small.ask("quarantine", "list") == "Nothing is in quarantine.\n"
    assert "Not open in quarantine" in small.ask("quarantine", "dismiss", BROKEN, "--yes", exit_code=1)

    after = small.contents()
    [closing] = [row for row in after["quarantine"] if row not in before["quarantine"]]
    assert (closing["status"], closing["error_class"], closing["error"]) == ("dismissed", "not_json", "a test")
    assert closing["value"] == b"{broken"
    assert after | {"quarantine": before["quarantine"]} == before


def test_a_dismissal_asks_first(small: Deployment):
    asked = small.runner("quarantine", "dismiss", BROKEN)  # nobody answers
    assert asked.exit_code == 1
    assert "Close 1 record without applying?" in asked.output
    assert [row["quarantine_id"] for row in small.ask_json("quarantine", "list")] == [BROKEN]
