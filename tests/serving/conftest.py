"""One server for the tests that change nothing of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.serving.running import Running, running, watched


@pytest.fixture(scope="package")
def up() -> Iterator[Running]:
    """A server with the hashing model, which counts what it computes."""
    with running("serving.max_text_bytes=100000", opener=watched()) as server:
        yield server
