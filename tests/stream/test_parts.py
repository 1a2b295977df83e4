"""A large batch is encoded in parts: what is ready is stored and readable before the rest is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from jude.encoder.resilient import EncodeResult
from jude.errors import TransientEncoderError
from jude.stream.micro_batch import apply_batch
from jude.stream.pipeline import Pipeline
from jude.stream.planned import plan_on_driver
from jude.tables.protocol import Txn
from tests.memory import MemoryOnline, MemoryTables
from tests.stories import Record, delete, job, records, upsert
from tests.stream.making import make_pipeline


class Watched:
    """A pipeline whose encoder writes down what was stored and readable each time it is asked."""

    def __init__(self, part_tokens: int | None, fails_at: int = 0) -> None:
        self.tables, self.online = MemoryTables(), MemoryOnline()
        self.seen: list[tuple[int, int]] = []
        self.fails_at = fails_at
        plain = make_pipeline(self.tables, self.online)

        def encode(inputs: Mapping[str, Sequence[int]]) -> EncodeResult:
            self.seen.append((len(self.tables.rows["embedding_store"]), len(self.online.rows)))
            if len(self.seen) == self.fails_at:
                raise TransientEncoderError("away")
            return plain.encode(inputs)

        self.pipeline: Pipeline = make_pipeline(self.tables, self.online, encode=encode, part_tokens=part_tokens)

    def apply(self, number: int, batch: list[Record]) -> Any:
        rows = records(batch)
        return apply_batch(lambda: plan_on_driver(rows, self.pipeline), self.pipeline, Txn("stream", "q1", number))


BATCH = [upsert(f"j{n}", 10 + n, job(f"Cook {n}")) for n in range(6)]


def test_a_part_is_stored_and_readable_before_the_next_is_encoded() -> None:
    watched = Watched(part_tokens=1)
    applied = watched.apply(0, BATCH)
    assert watched.seen == [(0, 0), (2, 2), (3, 3), (5, 5)]
    assert applied.counts["job"].inferences == 6


def test_one_part_where_the_tokens_are_few_or_parts_are_dear() -> None:
    for part_tokens in (1000, None):
        watched = Watched(part_tokens)
        watched.apply(0, BATCH)
        assert watched.seen == [(0, 0)]


def test_what_needs_no_encoding_is_readable_first() -> None:
    watched = Watched(part_tokens=1)
    watched.apply(0, [upsert("j1", 1, job("Baker")), upsert("j2", 2, job("Baker"))])
    watched.seen.clear()
    watched.apply(1, [delete("j1", 20), upsert("j3", 21, job("Baker")), upsert("j2", 22, job("Pilot"))])
    assert watched.seen == [(1, 3)]  # j3 shares the stored vector of j2; the delete of j1 stands, too


def test_a_part_that_fails_takes_nothing_back_and_is_alone_computed_again() -> None:
    watched = Watched(part_tokens=1, fails_at=3)
    with pytest.raises(TransientEncoderError):
        watched.apply(0, BATCH)
    assert len(watched.online.rows) == 3
    applied = watched.apply(0, BATCH)
    assert (applied.counts["job"].inferences, len(watched.tables.rows["embedding_store"])) == (6, 6)
    assert watched.seen[3:] == [(3, 3), (4, 4), (5, 5)]


def test_a_part_that_was_readable_before_another_failed_counts_as_fresh_as_it_was() -> None:
    watched = Watched(part_tokens=1, fails_at=3)
    with pytest.raises(TransientEncoderError):
        watched.apply(0, BATCH)
    early = len(watched.online.rows)
    assert 0 < early < len(BATCH)
    assert watched.apply(0, BATCH).freshness["job"].total == len(BATCH)
