"""Random histories of a database through the real streaming job, with crashes and lost checkpoints, against the model.

JUDE_TEST_HISTORIES=200 make unit PYTEST=tests/stream/test_random_histories.py      # all; make test-live runs it
JUDE_TEST_SEED=17 JUDE_TEST_HISTORIES=1 make unit PYTEST=tests/stream/test_random_histories.py    # that one again
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pyspark.errors import StreamingQueryException
from pyspark.sql import SparkSession

from jude.changes.sources import read_changes
from jude.errors import JudeError
from jude.online import Put
from jude.online.value import decode_value
from jude.settings import Settings, load_settings
from jude.stream.drain import Drain, wait_for
from jude.stream.opening import open_pipeline
from jude.stream.query import stream_embeddings
from jude.tables.spec import TABLES
from tests.memory import MemoryOnline, MemoryTables
from tests.recording import write_records
from tests.stories import CONF, NOW, Record, records
from tests.stream.reading import rows_of
from tests.stream.test_crashes import ARROWS
from tests.stream.test_invariance import DESCRIPTIONS, KEYS, TITLES, Op, check_current, check_histories, play

pytestmark = [pytest.mark.spark, pytest.mark.timeout(300), pytest.mark.long]
FIRST = int(os.environ.get("JUDE_TEST_SEED", "0"))
COUNT = int(os.environ.get("JUDE_TEST_HISTORIES", "3"))
KINDS = ("text", "text", "other", "delete", "rename")


class CrashError(Exception):
    """The driver dies here."""


def history_of(chance: random.Random) -> list[Op]:
    """10 to 40 changes of three keys: inserts, updates, deletes, re-inserts, key changes."""
    return [
        (chance.choice(KINDS), chance.choice(KEYS), chance.choice(KEYS), chance.choice(TITLES),
         chance.choice(DESCRIPTIONS))
        for _ in range(chance.randrange(10, 40))
    ]  # fmt: skip


def delivered(commits: list[list[Record]], chance: random.Random) -> list[Record]:
    """In order, and again from a little before now and then, as a connector that restarts sends them."""
    rows = [row for commit in commits for row in commit]
    sent: list[Record] = []
    for place, row in enumerate(rows):
        sent.append(row)
        if chance.random() < 0.15:
            start = max(0, place - chance.randrange(6))
            while rows[start]["value"] is None:  # the log has no tombstones of their own
                start -= 1
            sent += rows[start : place + 1]
    return [row | {"offset": offset} for offset, row in enumerate(sent)]


class Deployment:
    """One history's tables, online store, checkpoint and folder of changes."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self.spark, self.folder, self.changes = spark, folder, folder / "changes"
        self.changes.mkdir()
        self._files = 0

    @property
    def settings(self) -> Settings:
        places = {
            "source.path": self.changes, "stream.checkpoint": self.folder / "checkpoint",
            "tables.root": self.folder / "tables", "online.path": self.folder / "online.sqlite",
            "source.max_offsets_per_trigger": 7, "tables.buckets": 2,
        }  # fmt: skip
        return load_settings(CONF / "test.yml", [f"{name}={value}" for name, value in places.items()])

    def arrive(self, rows: list[Record]) -> None:
        write_records(self.changes / f"{self._files:05}.jsonl", records(rows))
        self._files += 1

    def run(self, after: Callable[[str], None] = lambda step: None) -> None:
        """Process all that is there, or die in between; each run opens everything anew."""
        settings = self.settings
        pipeline, drain = replace(open_pipeline(settings, self.spark), after=after, part_tokens=1), Drain()
        try:
            changes = read_changes(self.spark, settings.source)
            wait_for(stream_embeddings(changes, pipeline, settings, drain, lambda applied: None), drain)
        except (StreamingQueryException, JudeError) as error:
            if "CrashError" not in str(error):
                raise
        finally:
            pipeline.online.close()

    def lose_checkpoint(self) -> None:
        shutil.rmtree(self.folder / "checkpoint", ignore_errors=True)

    def contents(self) -> tuple[MemoryTables, MemoryOnline]:
        """What lies in Delta and SQLite, as the model's checks read it."""
        tables, online = MemoryTables(), MemoryOnline()
        for name, spec in TABLES.items():
            for row in rows_of(self.folder / "tables", name):
                key = tuple(row[n] for n in spec.natural_key)
                assert key not in tables.rows[name], f"{name} holds {key} twice"
                tables.rows[name][key] = row
        with sqlite3.connect(self.folder / "online.sqlite") as file:
            for version, entity_type, entity_id, position, value in file.execute(
                "SELECT model_version, entity_type, entity_id, position, value FROM vectors"
            ):
                vector, dtype, dim = decode_value(value) if value else (None, "float32", 0)
                put = Put(version, entity_type, entity_id, position, vector, dtype, dim)
                online.rows[version, entity_type, entity_id] = (put, NOW)
        return tables, online


def crash_somewhere(chance: random.Random) -> Callable[[str], None]:
    arrow, left = chance.choice(ARROWS), [chance.randrange(1, 4)]

    def after(step: str) -> None:
        left[0] -= step == arrow
        if step == arrow and left[0] == 0:
            raise CrashError(step)

    return after


@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT))
def test_any_history_gives_what_the_model_says(seed: int, spark: SparkSession, tmp_path: Path) -> None:
    chance = random.Random(seed)
    truth, commits = play(history_of(chance), placeholders=True)
    deployment, rows = Deployment(spark, tmp_path), delivered(commits, chance)
    lost = False
    while rows:
        size = chance.randrange(1, 25)
        deployment.arrive(rows[:size])
        rows = rows[size:]
        if chance.random() < 0.4:
            deployment.run(crash_somewhere(chance))
        if chance.random() < 0.1:
            deployment.lose_checkpoint()
            lost = True
    deployment.run()
    tables, online = deployment.contents()
    check_current(truth, tables, online)
    check_histories(truth, tables)
    inferences = sum(row["inferences"] for row in tables.rows["ledger"].values())
    stored = len(tables.rows["embedding_store"])
    # With its checkpoint a dead batch loses its claim on vectors that it had stored: the next finds them there.
    assert inferences <= stored if lost else inferences == stored
