"""Pairs that cannot be trained on are refused; those that can become the same batches for everyone."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from jude.errors import TerminalTrainingError
from jude.training.data import BatchMaker, Sampler, check_leakage, split_by_time, tokenise
from jude.training.data.pairs import checked, data_hash, read_pairs
from jude.training.predicates import predicate_columns
from tests.training.tiny import WordTokeniser, random_data, random_pairs


def pairs(*rows: tuple[str, str, float | None], **columns: list[object]) -> pa.Table:
    query, document, label = zip(*rows, strict=True) if rows else ((), (), ())
    table = {
        "query_text": pa.array(query, pa.string()),
        "query_type": pa.array(["member"] * len(rows), pa.string()),
        "document_text": pa.array(document, pa.string()),
        "document_type": pa.array(["job"] * len(rows), pa.string()),
        "label": pa.array(label, pa.float32()),
    }
    return pa.table({**table, **columns})


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (("1", "1", 1.0), "pair a text with itself"),
        (("1", " ", 1.0), "have no document_text"),
        ((None, "1", 1.0), "have no query_text"),
        (("1", "2", 1.5), "have a label outside"),
        (("1", "2", float("nan")), "have a label outside"),
        (("1", "2", None), "have a label outside"),
    ],
)
def test_bad_rows_are_named(row: tuple[str, str, float | None], sentence: str) -> None:
    with pytest.raises(TerminalTrainingError, match=f"1 rows {sentence}.*row 1"):
        checked(pairs(("5", "6", 1.0), row))


def test_a_column_of_another_type_is_named() -> None:
    words = pairs(("1", "2", 1.0)).drop_columns("label").append_column("label", pa.array(["yes"]))
    with pytest.raises(TerminalTrainingError, match="the pairs: the column label holds string, which is no float"):
        checked(words)
    nested = pairs(("1", "2", 1.0)).drop_columns("label").append_column("label", pa.array([[1.0]]))
    with pytest.raises(TerminalTrainingError, match="the column label holds list<item: double>"):
        checked(nested)


def test_a_file_that_is_no_parquet_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "pairs.parquet").write_bytes(b"a,b\n1,2\n")
    with pytest.raises(TerminalTrainingError, match=r"pairs\.parquet is not Parquet, or damaged"):
        read_pairs(tmp_path / "pairs.parquet")


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(TerminalTrainingError, match="hold no pair"):
        checked(pairs())


def test_equal_texts_are_one_input_and_prompts_make_them_differ(tmp_path: Path) -> None:
    table = checked(pairs(("1 2", "3", 1.0), ("1 2", "4", 0.0), ("3", "1 2", 1.0)))
    for cache in (None, tmp_path, tmp_path):  # the third time from the file
        data = tokenise(table, WordTokeniser(), tokeniser_name="words", cache=cache)
        assert data.query[0] == data.query[1] != data.document[2]
        assert data.token_ids(int(data.query[0])).tolist() == [1, 4, 5]
        assert data.token_ids(int(data.document[2])).tolist() == [2, 4, 5]
    assert len(list(tmp_path.glob("*.arrow"))) == 1


def test_the_data_hash_follows_values_and_order() -> None:
    a, b = checked(pairs(("1", "2", 1.0), ("3", "4", 0.0))), checked(pairs(("3", "4", 0.0), ("1", "2", 1.0)))
    assert data_hash(a) == data_hash(checked(pairs(("1", "2", 1.0), ("3", "4", 0.0)))) != data_hash(b)


def test_false_negatives_are_masked() -> None:
    table = checked(
        pairs(
            ("1", "11", 1.0), ("2", "12", 1.0), ("3", "13", 1.0), ("1", "13", 1.0),
            query_group=["a", "b", None, "a"], document_group=["a", "a", None, None],
        )
    )  # fmt: skip
    batch = BatchMaker(tokenise(table, WordTokeniser(), tokeniser_name="words")).batch(np.arange(3))
    own = [batch.masked[q, batch.own[q]] for q in range(3)]
    assert own == [True, True, True]  # the loss never masks a query's own positive
    assert batch.masked.tolist() == [[True, True, True], [False, True, False], [False, False, True]]


def test_an_equal_text_is_no_negative_under_another_prompt() -> None:
    """Members and jobs have other first tokens here, so that the same words are two inputs."""
    table = checked(pairs(("1", "2", 1.0), ("3", "1", 1.0), ("4", "5", 1.0)))
    data = tokenise(table, WordTokeniser(), tokeniser_name="words")
    batch = BatchMaker(data).batch(np.arange(3))
    assert batch.masked[0, batch.own].tolist() == [True, True, False]
    assert BatchMaker(data, mask_false_negatives=False).batch(np.arange(3)).masked.sum() == 0


def test_a_document_of_two_groups_is_no_negative_of_either() -> None:
    groups: list[object] = ["a", "a", "b", "b"]
    rows = (("1", "11", 1.0), ("2", "12", 1.0), ("3", "11", 1.0), ("4", "13", 1.0))
    table = checked(pairs(*rows, query_group=groups, document_group=groups))
    batch = BatchMaker(tokenise(table, WordTokeniser(), tokeniser_name="words")).batch(np.arange(4))
    assert batch.masked[:, batch.own[0]].tolist() == [True] * 4


def test_a_batch_encodes_repeated_texts_once_and_shares_them_out() -> None:
    table = checked(pairs(("1", "11", 1.0), ("1", "12 13", 0.0), ("2", "11", 1.0)))
    batch = BatchMaker(tokenise(table, WordTokeniser(), tokeniser_name="words")).batch(np.arange(3))
    assert len(batch.inputs) == 4
    assert batch.real_tokens == 3 * 2 + 2 + 3 + 2
    assert np.sort(np.concatenate(batch.shares(3))).tolist() == [0, 1, 2, 3]
    assert sorted(batch.lists[batch.lists >= 0].tolist()) == [0, 1, 2]
    with pytest.raises(TerminalTrainingError, match="4 texts for 5 ranks"):
        batch.shares(5)


def test_the_sampler_repeats_itself_and_takes_each_pair_once_an_epoch() -> None:
    table = random_pairs(25)
    first, second = Sampler(table, 8, seed=3), Sampler(table, 8, seed=3)
    epoch = np.concatenate([first.rows(n) for n in range(3)])
    assert len(np.unique(epoch)) == 24
    assert first.rows(7).tolist() == second.rows(7).tolist()
    assert first.rows(0).tolist() != Sampler(table, 8, seed=4).rows(0).tolist()
    with pytest.raises(TerminalTrainingError, match="batch takes 26"):
        Sampler(table, 26, seed=0)


def test_an_epoch_of_two_sources_takes_each_pair_once_whatever_the_division_rounds_to() -> None:
    table = random_pairs(100).drop_columns("source").append_column("source", pa.array(["a"] * 29 + ["b"] * 71))
    sampler = Sampler(table, 50, seed=0)
    assert sampler.batches_per_epoch == 2
    assert len(np.unique(np.concatenate([sampler.rows(0), sampler.rows(1)]))) == 100


def test_mixing_raises_the_share_of_a_small_source() -> None:
    table = random_pairs(100).drop_columns("source").append_column("source", pa.array(["big"] * 90 + ["small"] * 10))
    shares = []
    for temperature in (1.0, 2.0, 1e9):
        sampler = Sampler(table, 50, seed=0, mixing_temperature=temperature)
        rows = np.concatenate([sampler.rows(0), sampler.rows(1)])
        shares.append(int((rows >= 90).sum()))
    assert shares[0] == 10
    assert shares == sorted(shares)
    assert shares[2] >= 48


def test_lists_stay_together() -> None:
    table = random_pairs(12).append_column("list", pa.array(list("abcdabcdabcd")))
    rows = Sampler(table, 6, seed=0).rows(0)
    assert len(rows) == 6
    assert len(set(rows % 4)) == 2


def test_splits_are_by_time_and_apart() -> None:
    def day(n: int) -> datetime:
        return datetime(2025, 1, n, tzinfo=UTC)

    table = checked(
        pairs(("1", "2", 1.0), ("3", "4", 1.0), ("1", "5", 1.0), ("6", "7", 1.0), time=[day(1), day(5), day(8), day(9)])
    )
    parts = split_by_time(table, {"train": day(4), "test": day(20)}, apart=("query_text",))
    assert parts["train"]["query_text"].to_pylist() == ["1"]
    assert parts["test"]["query_text"].to_pylist() == ["3", "6"]
    check_leakage(parts["train"], parts["test"])
    with pytest.raises(TerminalTrainingError, match="1 query texts"):
        check_leakage(table, parts["test"].slice(0, 1))
    with pytest.raises(TerminalTrainingError, match="is empty"):
        split_by_time(table, {"train": day(1), "test": day(20)})


def test_predicates_read_columns_and_name_what_they_lack() -> None:
    table = checked(
        pairs(
            ("1", "2", 1.0), ("3", "4", 0.0),
            query_location=["Bonn", "Rome"], document_location=["Bonn", None],
            query_title=["data engineer", "nurse"], document_title=["Engineer", "cook"],
            document_language=["de", None],
        )
    )  # fmt: skip
    found = predicate_columns(table, ("constant", "location_match", "title_overlap"))
    assert found.tolist() == [[1.0, 1.0, 0.5], [1.0, 0.0, 0.0]]
    assert predicate_columns(table, ("language",)).tolist() == [[1.0], [0.0]]
    with pytest.raises(TerminalTrainingError, match="needs the column judge_grade"):
        predicate_columns(table, ("judge_grade",))
    with pytest.raises(TerminalTrainingError, match="no predicate 'colour'"):
        predicate_columns(table, ("colour",))


def test_random_data_is_what_the_other_tests_need() -> None:
    label = random_data().label
    assert 0 < label.mean() < 1
