"""One stack for all live tests; skipped with the reason where a program is missing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def stack() -> Iterator[object]:
    """PostgreSQL, Kafka, Debezium and Redis, new and empty."""
    from deploy.stack.programs import MissingProgramError
    from deploy.stack.stack import Stack

    own = f"test-stack-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"  # two processes may have one each
    made = Stack(Path(os.environ.get("JUDE_STACK_TESTS") or PROJECT / ".jude" / own), say=lambda line: None)
    made.down(remove=True)
    try:
        made.up()
        yield made
    except MissingProgramError as missing:
        pytest.skip(str(missing))
    finally:
        made.down(remove=not os.environ.get("JUDE_KEEP_STACK"))
