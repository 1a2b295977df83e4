"""The encoder on its bad days, through the whole path: a batch waits, or one text does; nothing is paid for twice."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from jude.encoder import Encode, RetryPolicy, encode_inputs
from jude.encoder.calls import BatchEncoder
from jude.encoder.hashing import HashingEncoder, HashingTokeniser
from jude.errors import TransientEncoderError, TransientTableError
from jude.online.sqlite import SqliteStore
from jude.settings import load_settings
from jude.stream import opening
from jude.stream.opening import open_pipeline
from jude.stream.pipeline import Pipeline
from jude.stream.replay import Replayed, replay_quarantine
from jude.tables.native import NativeTables
from jude.tables.reading import open_quarantine
from tests.stories import CONF, NOW, PLACEHOLDER, Record, delete, job, tombstone, upsert
from tests.stream.making import make_pipeline
from tests.stream.reading import rows_of
from tests.stream.test_bad_input import apply, check_ledger, live_texts, member, text_of
from tests.stream.test_crashes import CLOCKS

WIDTH = 8
TABLES = ("text_history", "embedding_history", "embedding_store", "embedding_current", "ledger", "quarantine")


@dataclass
class Moody:
    """The hashing encoder, until a mood says otherwise; counts the inputs that it gave vectors for."""

    mood: Callable[[Sequence[Sequence[int]]], NDArray[np.float32] | None] = lambda ids: None
    encoder: HashingEncoder = field(default_factory=lambda: HashingEncoder("hashing-test", WIDTH))
    paid: int = 0

    def encode(self, token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        rows = self.mood(token_ids)
        self.paid += len(token_ids) if rows is None else 0
        return self.encoder.encode(token_ids) if rows is None else rows


def resilient(encode: Encode, timeout_seconds: float = 60.0) -> Any:
    policy = RetryPolicy(attempts=2, backoff_seconds=0.0, timeout_seconds=timeout_seconds)
    return lambda inputs: encode_inputs(encode, inputs, policy, width=WIDTH)


@pytest.fixture
def encoder() -> Moody:
    return Moody()


@pytest.fixture
def pipeline(encoder: Moody, tmp_path: Path) -> Iterator[Pipeline]:
    """Delta tables, SQLite and an encoder behind the retries that every deployment has."""
    tables, ticks = NativeTables(tmp_path, buckets=2), itertools.count()
    tables.ensure()
    online = SqliteStore(tmp_path / "online.sqlite")

    def clock() -> datetime:
        return NOW + timedelta(seconds=next(ticks))

    attempts = tmp_path / "jude.attempt"
    yield make_pipeline(tables, online, clock, encode=resilient(encoder.encode), attempts_file=attempts)
    online.close()


def word(text: str) -> int:
    """The token id of one word."""
    return HashingTokeniser("hashing-test").inputs("job", [text])[0].token_ids[0]


def down(token_ids: Sequence[Sequence[int]]) -> None:
    raise ConnectionError("connection refused")


def chokes_on(text: str) -> Callable[[Sequence[Sequence[int]]], None]:
    def mood(token_ids: Sequence[Sequence[int]]) -> None:
        if any(word(text) in ids for ids in token_ids):
            raise ValueError(f"cannot read {text}")

    return mood


def contents(root: Path) -> dict[str, list[dict[str, Any]]]:
    return {name: rows_of(root, name) for name in TABLES}


def quarantined(root: Path) -> list[tuple[str, str]]:
    return sorted((row["entity_id"], row["error_class"]) for row in open_quarantine(root).to_pylist())


def current(root: Path, entity_id: str) -> dict[str, Any]:
    (row,) = [row for row in rows_of(root, "embedding_current") if row["entity_id"] == entity_id]
    return row


# -- the encoder fails for everything ---------------------------------------------------------------------------------

TWO_TYPES = [upsert("j1", 10, job("Baker")), upsert("j2", 11, job("Cook")), member("m1", 12)]
"""Three inferences, of which no entity type has more than two."""


def wrong_width(token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    return np.ones((len(token_ids), WIDTH + 1), np.float32)


def wrong_count(token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    return np.ones((len(token_ids) + 1, WIDTH), np.float32)


def all_nan(token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    return np.full((len(token_ids), WIDTH), np.nan, np.float32)


@pytest.mark.parametrize("mood", [down, wrong_width, wrong_count, all_nan])
def test_an_encoder_that_fails_for_everything_fails_the_batch_and_its_replay_is_as_if_nothing_had_been(
    mood: Any, pipeline: Pipeline, encoder: Moody, tmp_path: Path
):
    before = contents(tmp_path)
    encoder.mood = mood
    with pytest.raises(TransientEncoderError):
        apply(pipeline, TWO_TYPES)
    assert contents(tmp_path) == before
    assert pipeline.online.get_many(pipeline.model_version, "job", ["j1", "j2"]) == [None, None]

    encoder.mood = lambda ids: None
    apply(pipeline, TWO_TYPES)
    assert set(live_texts(tmp_path)) == {"j1", "j2", "m1"}
    assert quarantined(tmp_path) == []
    check_ledger(tmp_path, 3)


def test_repeated_inferences_are_counted_where_they_happened(pipeline: Pipeline, encoder: Moody, tmp_path: Path):
    """A crash between encoder and store, in a batch of two entity types."""

    def crash(step: str) -> None:
        if step == "encode":
            raise InterruptedError

    with pytest.raises(InterruptedError):
        apply(replace(pipeline, after=crash), TWO_TYPES)
    apply(pipeline, TWO_TYPES)
    repeated = {row["entity_type"]: row["inferences_repeated"] for row in rows_of(tmp_path, "ledger")}
    assert repeated == {"job": 2, "member": 1}
    assert encoder.paid == 6


def test_a_batch_tried_again_by_the_same_process_pays_nothing_twice(pipeline: Pipeline, encoder: Moody, tmp_path: Path):
    """The disk was full for a moment, between encoder and store."""
    once = BatchEncoder(encoder.encode, RetryPolicy(attempts=2, backoff_seconds=0.0), WIDTH, call_tokens=100)

    def full(step: str) -> None:
        if step == "encode":
            raise TransientTableError("no space left on device")

    with pytest.raises(TransientTableError):
        apply(replace(pipeline, encode=once, after=full), TWO_TYPES)
    apply(replace(pipeline, encode=once), TWO_TYPES)
    ledger = rows_of(tmp_path, "ledger")
    assert (sum(r["inferences"] for r in ledger), sum(r["inferences_repeated"] for r in ledger)) == (3, 0)
    assert encoder.paid == 3


def test_an_input_that_fails_on_the_second_try_is_no_repeated_inference(
    pipeline: Pipeline, encoder: Moody, tmp_path: Path
):
    encoder.mood = down
    with pytest.raises(TransientEncoderError):
        apply(pipeline, [upsert("j1", 10, job("Baker")), upsert("j2", 11, job("Cook"))])
    encoder.mood = chokes_on("Cook")
    apply(pipeline, [upsert("j1", 10, job("Baker")), upsert("j2", 11, job("Cook"))])
    (ledger,) = rows_of(tmp_path, "ledger")
    assert (ledger["quarantined"], ledger["inferences"], ledger["inferences_repeated"]) == (1, 1, 1)


# -- the encoder fails for one text -----------------------------------------------------------------------------------

BEFORE = [upsert("j1", 10, job("Baker")), upsert("j2", 11, job("Clerk")), upsert("j3", 12, job("Driver"))]
POISON = job("Chemist", "Handles much Poison every day.")
POISON_TEXT = text_of("Chemist", "Handles much Poison every day.")
TROUBLE = [
    upsert("j1", 20, POISON),
    upsert("j2", 21, job("Clerk", "Types.")),
    upsert("j4", 22, POISON),  # the same text under another key, which is new
    upsert("j5", 23, job("Nurse")),
]


def hangs_on(text: str, released: threading.Event) -> Callable[[Sequence[Sequence[int]]], None]:
    def mood(token_ids: Sequence[Sequence[int]]) -> None:
        if any(word(text) in ids for ids in token_ids):
            released.wait(60)

    return mood


def nan_for(text: str) -> Callable[[Sequence[Sequence[int]]], NDArray[np.float32]]:
    def mood(token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        rows = HashingEncoder("hashing-test", WIDTH).encode(token_ids)
        rows[[word(text) in ids for ids in token_ids]] = np.nan
        return rows

    return mood


@pytest.mark.parametrize("trouble", ["raises", "nan", "hangs"])
def test_a_text_that_alone_fails_waits_with_its_duplicates_and_the_rest_commits(
    trouble: str, pipeline: Pipeline, encoder: Moody, tmp_path: Path
):
    apply(pipeline, BEFORE)
    released = threading.Event()
    moods = {"raises": chokes_on("Poison"), "nan": nan_for("Poison"), "hangs": hangs_on("Poison", released)}
    encoder.mood = moods[trouble]
    limit = 0.5 if trouble == "hangs" else 60.0
    kept = current(tmp_path, "j1")
    applied = apply(replace(pipeline, encode=resilient(encoder.encode, limit)), TROUBLE, 1)
    released.set()

    assert quarantined(tmp_path) == [("j1", "encoder_failed"), ("j4", "encoder_failed")]
    assert applied.counts["job"].quarantined == 2
    check_ledger(tmp_path, len(BEFORE) + len(TROUBLE))
    now = current(tmp_path, "j1")
    assert [now[n] for n in ("position", "input_hash", "text_position")] == [
        kept[n] for n in ("position", "input_hash", "text_position")
    ]
    assert now["quarantined_position"] > now["position"]
    assert live_texts(tmp_path) == {
        "j1": text_of("Baker"),
        "j2": text_of("Clerk", "Types."),
        "j3": text_of("Driver"),
        "j5": text_of("Nurse"),
    }
    assert "Poison" not in " ".join(row["error"] for row in open_quarantine(tmp_path).to_pylist())
    served = pipeline.online.get_many(pipeline.model_version, "job", ["j1", "j4", "j5"])
    assert [vector is not None for vector in served] == [True, False, True]


def replay(pipeline: Pipeline, root: Path, replay_id: str) -> Replayed:
    return replay_quarantine(open_quarantine(root, with_records=True), pipeline, replay_id)


def test_a_healed_encoder_gets_the_text_by_replay_and_a_second_replay_changes_nothing(
    pipeline: Pipeline, encoder: Moody, tmp_path: Path
):
    apply(pipeline, BEFORE)
    encoder.mood = chokes_on("Poison")
    apply(pipeline, TROUBLE, 1)
    assert replay(pipeline, tmp_path, "r1") == Replayed(closed=0, still_open=2)
    assert {row["attempts"] for row in open_quarantine(tmp_path).to_pylist()} == {2}

    encoder.mood = lambda ids: None
    open_rows, paid = open_quarantine(tmp_path, with_records=True), encoder.paid
    assert replay_quarantine(open_rows, pipeline, "r2") == Replayed(closed=2, still_open=0)
    assert quarantined(tmp_path) == []
    assert live_texts(tmp_path)["j1"] == live_texts(tmp_path)["j4"] == POISON_TEXT
    assert current(tmp_path, "j1")["quarantined_position"] is None
    assert encoder.paid - paid == 1
    origins = {r["entity_id"]: r["origin"] for r in rows_of(tmp_path, "embedding_history") if r["writer_query"] == "r2"}
    assert origins == {"j1": "replay", "j4": "replay"}

    after = contents(tmp_path)
    replay_quarantine(open_rows, pipeline, "r2")  # the same replay, cut off before it could say that it was done
    assert without_clocks(contents(tmp_path)) == without_clocks(after)
    replay_quarantine(open_rows, pipeline, "r3")  # another person had the same idea
    unchanged = ("text_history", "embedding_history", "embedding_store", "embedding_current")
    assert {name: contents(tmp_path)[name] for name in unchanged} == {name: after[name] for name in unchanged}
    assert encoder.paid - paid == 1
    assert quarantined(tmp_path) == []


def without_clocks(tables: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    return {name: [{k: v for k, v in row.items() if k not in CLOCKS} for row in rows] for name, rows in tables.items()}


def test_a_newer_change_that_overtook_the_failed_text_closes_it(pipeline: Pipeline, encoder: Moody, tmp_path: Path):
    encoder.mood = chokes_on("Poison")
    apply(pipeline, [upsert("j1", 10, job("Baker"))])
    apply(pipeline, [upsert("j1", 20, POISON)], 1)
    apply(pipeline, [upsert("j1", 30, job("Cook"))], 2)
    assert replay(pipeline, tmp_path, "r1") == Replayed(closed=1, still_open=0)
    assert live_texts(tmp_path) == {"j1": text_of("Cook")}
    assert quarantined(tmp_path) == []


def test_no_placeholder_is_restored_from_before_the_failed_text(pipeline: Pipeline, encoder: Moody, tmp_path: Path):
    """The description that readers are served is older than the one the database left out."""
    encoder.mood = chokes_on("Poison")
    apply(pipeline, [upsert("j1", 10, job("Baker", "Bakes."))])
    apply(pipeline, [upsert("j1", 20, job("Baker", "Bakes with Poison now."))], 1)
    apply(pipeline, [upsert("j1", 30, job("Baker II", PLACEHOLDER))], 2)
    assert quarantined(tmp_path) == [("j1", "encoder_failed"), ("j1", "text_unavailable")]
    encoder.mood = lambda ids: None
    assert replay(pipeline, tmp_path, "r1") == Replayed(closed=2, still_open=0)
    assert live_texts(tmp_path) == {"j1": text_of("Baker II", "Bakes with Poison now.")}


def test_a_delete_in_the_same_batch_is_not_lost_with_the_failed_text(
    pipeline: Pipeline, encoder: Moody, tmp_path: Path
):
    """Deleted at 20, back at 30 with a text that fails: replay brings it back, a redelivery changes nothing."""
    story: list[Record] = [delete("j1", 20), tombstone("j1", 21), upsert("j1", 30, POISON)]
    apply(pipeline, [upsert("j1", 10, job("Baker"))])
    encoder.mood = chokes_on("Poison")
    apply(pipeline, story, 1)
    encoder.mood = lambda ids: None
    assert replay(pipeline, tmp_path, "r1") == Replayed(closed=1, still_open=0)
    assert live_texts(tmp_path) == {"j1": POISON_TEXT}
    assert [row["text"] for row in sorted(rows_of(tmp_path, "text_history"), key=lambda r: r["position"])] == [
        text_of("Baker"), None, POISON_TEXT
    ]  # fmt: skip
    check_ledger(tmp_path, 5)


# -- what a deployment opens ------------------------------------------------------------------------------------------


def settings_in(folder: Path, *overrides: str) -> Any:
    places = [f"stream.checkpoint={folder}/checkpoint", f"tables.root={folder}/tables", f"online.path={folder}/online"]
    return load_settings(CONF / "test.yml", [*places, "encoder.backoff_seconds=0", *overrides])


def test_a_deployment_refuses_vectors_of_another_width(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """One that says 32 and gives 33 would fill the store with vectors nobody can read."""

    class Liar(HashingEncoder):
        def encode(self, token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
            return HashingEncoder("liar", self.width + 1).encode(token_ids)

    monkeypatch.setattr(opening, "open_encoder", lambda spec: Liar("liar", spec.width))
    pipeline = open_pipeline(settings_in(tmp_path))
    with pytest.raises(TransientEncoderError, match="33"):
        apply(pipeline, [upsert("j1", 10, job("Baker"))])
    assert rows_of(tmp_path / "tables", "embedding_store") == []


def test_the_width_is_the_model_s_where_the_settings_name_none_and_spark_encodes(tmp_path: Path):
    """conf/prod.yml is such a deployment."""
    spark: Any = object()  # nothing is encoded here
    pipeline = open_pipeline(settings_in(tmp_path, "encoder.where=executors", "encoder.width=null"), spark)
    assert pipeline.width == 64
