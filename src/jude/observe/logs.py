"""Structured logs that cannot carry personal text: constant event names and vetted facts, nothing else.

A text field can reach a log by three ways: interpolated into the message, as a value, or inside a foreign exception's
message. So a message must be a short constant event name, a value must be a number, a time or a word under a known key,
and of an exception only its class and the places in the code are kept (our own errors keep their sentence:
JudeError messages carry no personal text).
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, Literal, TextIO

import orjson

from jude.errors import JudeError
from jude.observe.facts import vetted

_EVENT_WORDS: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789 _-:")
_EVENT_LENGTH: Final = 60
_NOTHING: Final[Mapping[str, object]] = MappingProxyType({})
WITHHELD: Final = "message withheld"


def log_event(logger: logging.Logger, level: int, event: str, /, **facts: object) -> None:
    """Log one event: a constant name such as `batch committed`, and facts under the keys of `jude.observe.facts`."""
    logger.log(level, event, extra={"facts": facts}, stacklevel=2)


def configure_logs(
    layout: Literal["text", "json"] = "text",
    *,
    level: str = "INFO",
    show_ids: bool = False,
    stream: TextIO = sys.stderr,
) -> None:
    """Send everything logged under `jude` to `stream`; call once per process, calling again replaces the choice.

    Entity ids are hashed unless `show_ids`: a hash joins the lines of one entity without naming it, but whoever can
    list the ids can hash them too.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(EventFormatter(layout, show_ids=show_ids))
    logger = logging.getLogger("jude")
    logger.handlers = [handler]
    logger.setLevel(level)
    logger.propagate = False  # a root handler would print the unvetted record


class EventFormatter(logging.Formatter):
    """Writes an event as one JSON object or one readable line; every handler of JUDE uses it."""

    def __init__(self, layout: Literal["text", "json"], *, show_ids: bool) -> None:
        """Choose the layout and whether entity ids are hashed."""
        super().__init__()
        self._json = layout == "json"
        self._hash_ids = not show_ids

    def format(self, record: logging.LogRecord) -> str:
        """Write the record, or what is left of it after vetting."""
        facts = vetted(getattr(record, "facts", _NOTHING), hash_ids=self._hash_ids)
        if record.exc_info and record.exc_info[1]:
            facts |= _exception_facts(record.exc_info[1])
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        room = record.name.removeprefix("jude.")
        if self._json:
            head = {"at": moment, "level": record.levelname, "room": room, "event": _event_name(record)}
            return orjson.dumps(head | facts).decode()
        tail = "".join(f" {key}={value}" for key, value in facts.items())
        return f"{moment} {record.levelname:<7} {room}: {_event_name(record)}{tail}"


def _event_name(record: logging.LogRecord) -> str:
    """Give the message if it is a constant name; never its arguments."""
    name = record.msg
    if isinstance(name, str) and not record.args and len(name) <= _EVENT_LENGTH and _EVENT_WORDS.issuperset(name):
        return name
    return f"{WITHHELD} ({record.module}:{record.lineno})"


def _exception_facts(error: BaseException) -> dict[str, object]:
    frames = traceback.extract_tb(error.__traceback__)
    facts: dict[str, object] = {"error_class": type(error).__name__}
    if isinstance(error, JudeError):
        facts["error"] = str(error)
    facts["raised_at"] = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames[-6:]))
    return facts
