"""No way to the log for a text: not as message, not as value, not in an exception."""

from __future__ import annotations

import ast
import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

import jude
from jude.errors import TransientEncoderError
from jude.observe import configure_logs, log_event
from jude.observe.facts import hashed_id, vetted
from jude.observe.logs import _EVENT_WORDS

RESUME = "Maria Example, Berlin, nurse since 2009"
LOG = logging.getLogger("jude.stream.batch")


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    logger = logging.getLogger("jude")
    before = logger.handlers, logger.level, logger.propagate
    stream = io.StringIO()
    configure_logs("json", level="DEBUG", stream=stream)
    yield stream
    logger.handlers, logger.level, logger.propagate = before


def line(out: io.StringIO) -> dict[str, object]:
    (only,) = out.getvalue().splitlines()
    return dict(json.loads(only))


def test_an_event_is_one_json_line(out: io.StringIO) -> None:
    log_event(LOG, logging.INFO, "batch committed", batch=3, events_in=500, encode_seconds=1.25, query="embed-stream")
    found = line(out)
    assert found.pop("at")
    assert found == {
        "level": "INFO",
        "room": "stream.batch",
        "event": "batch committed",
        "batch": 3,
        "events_in": 500,
        "encode_seconds": 1.25,
        "query": "embed-stream",
    }


def test_a_readable_line(out: io.StringIO) -> None:
    configure_logs("text", stream=out)
    log_event(LOG, logging.WARNING, "commit conflict", table="embedding_current", attempt=2)
    assert out.getvalue().endswith(" WARNING stream.batch: commit conflict table=embedding_current attempt=2\n")


@pytest.mark.parametrize("key", ["text", "title", "fields", "note", "value"])
def test_unknown_keys_are_withheld_and_named(out: io.StringIO, key: str) -> None:
    log_event(LOG, logging.INFO, "planned", **{key: RESUME}, batch=1)
    assert line(out)["withheld"] == key
    assert "Maria" not in out.getvalue()


@pytest.mark.parametrize("key", ["reason", "query", "entity_type", "batch", "encode_seconds", "started_at"])
def test_a_text_under_a_known_key_is_withheld(out: io.StringIO, key: str) -> None:
    log_event(LOG, logging.INFO, "planned", **{key: RESUME})
    assert line(out)["withheld"] == key
    assert "Maria" not in out.getvalue()


@pytest.mark.parametrize(
    ("message", "arguments"),
    [(f"could not embed {RESUME}", ()), ("could not embed %s", (RESUME,)), (f"texts: {RESUME.lower()}" * 3, ())],
)
def test_a_message_is_a_constant_name_or_withheld(out: io.StringIO, message: str, arguments: tuple[str, ...]) -> None:
    LOG.info(message, *arguments)
    assert str(line(out)["event"]).startswith("message withheld (test_logs:")
    assert "aria" not in out.getvalue()


def test_no_log_call_of_ours_is_withheld() -> None:
    """A message with arguments, or one that is no plain name, would tell an operator nothing."""
    withheld = []
    for file in Path(jude.__file__).parent.rglob("*.py"):
        for call in ast.walk(ast.parse(file.read_text())):
            match call:
                case ast.Call(ast.Name("log_event"), [_, _, name, *_]):
                    arguments: list[ast.expr] = []
                case ast.Call(
                    ast.Attribute(ast.Name("log" | "LOG" | "_LOG"), "exception" | "warning"), [name, *arguments]
                ):
                    pass
                case _:
                    continue
            names = [name.body, name.orelse] if isinstance(name, ast.IfExp) else [name]
            plain = [isinstance(n, ast.Constant) and _EVENT_WORDS.issuperset(str(n.value)) for n in names]
            if arguments or not all(plain):
                withheld.append(f"{file.name}:{call.lineno}")
    assert withheld == []


def test_a_foreign_exception_keeps_only_its_class_and_places(out: io.StringIO) -> None:
    try:
        int(RESUME)
    except ValueError:
        LOG.exception("decode failed")
    found = line(out)
    assert (found["error_class"], found["event"]) == ("ValueError", "decode failed")
    assert "test_a_foreign_exception" in str(found["raised_at"])
    assert "Maria" not in out.getvalue()


def test_an_error_of_ours_keeps_its_sentence(out: io.StringIO) -> None:
    try:
        raise TransientEncoderError("The encoder gave 3 vectors for 4 texts.")
    except TransientEncoderError:
        LOG.exception("batch failed")
    assert line(out)["error"] == "The encoder gave 3 vectors for 4 texts."


def test_entity_ids_are_hashed_unless_shown(out: io.StringIO) -> None:
    log_event(LOG, logging.INFO, "planned", entity_id="maria@example.org")
    assert line(out)["entity_id"] == hashed_id("maria@example.org")
    out.truncate(0)
    out.seek(0)
    configure_logs("json", show_ids=True, stream=out)
    log_event(LOG, logging.INFO, "planned", entity_id="j1")
    assert line(out)["entity_id"] == "j1"


def test_a_shown_id_is_still_a_word() -> None:
    assert vetted({"entity_id": RESUME}, hash_ids=False) == {"withheld": "entity_id"}


def test_times_and_nothing() -> None:
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert vetted({"source_ts": noon, "alias": None}, hash_ids=True) == {"source_ts": "2026-03-01T12:00:00+00:00"}


def test_a_root_handler_does_not_see_our_records(out: io.StringIO) -> None:
    elsewhere = io.StringIO()
    handler = logging.StreamHandler(elsewhere)
    logging.getLogger().addHandler(handler)
    try:
        LOG.error("could not embed %s", RESUME)
    finally:
        logging.getLogger().removeHandler(handler)
    assert elsewhere.getvalue() == ""
