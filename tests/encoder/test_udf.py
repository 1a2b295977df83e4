"""The encoder in Spark's Python workers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from jude.cli.serve import specs_of
from jude.encoder import EncoderSpec, RetryPolicy, encode_inputs, open_encoder, pinned
from tests.serving.running import running

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark

HASHING = EncoderSpec("hashing", width=8)


def test_vectors_and_their_order_are_those_of_one_process(spark: SparkSession) -> None:
    from jude.encoder.udf import encode_in_executors

    inputs = [tuple(range(n % 37)) for n in range(500)]
    np.testing.assert_array_equal(encode_in_executors(spark, HASHING)(inputs), open_encoder(HASHING).encode(inputs))


@pytest.mark.parametrize("count", [0, 1])
def test_few_inputs(spark: SparkSession, count: int) -> None:
    from jude.encoder.udf import encode_in_executors

    assert encode_in_executors(spark, HASHING)([(1, 2)] * count).shape == (count, 8)


def test_encode_inputs_runs_over_executors(spark: SparkSession) -> None:
    from jude.encoder.udf import encode_in_executors

    result = encode_inputs(encode_in_executors(spark, HASHING), {"a": (1,), "b": (2, 3)}, RetryPolicy(), width=8)
    np.testing.assert_array_equal(result.vectors["b"], open_encoder(HASHING).encode([(2, 3)])[0])


def test_other_columns_are_kept(spark: SparkSession) -> None:
    from jude.encoder.udf import encode_column

    inputs = spark.createDataFrame([("h1", [1, 2]), ("h2", [3])], "input_hash string, token_ids array<int>")
    encoded = encode_column(inputs, HASHING)
    assert encoded.columns == ["input_hash", "vector"]
    expected = open_encoder(HASHING).encode([[1, 2], [3]])
    found = {row.input_hash: np.frombuffer(row.vector, "<f4").tolist() for row in encoded.collect()}
    assert found == {"h1": expected[0].tolist(), "h2": expected[1].tolist()}


def test_workers_may_ask_a_server(spark: SparkSession) -> None:
    from jude.encoder.udf import encode_in_executors

    inputs = [tuple(range(1, 2 + n % 37)) for n in range(200)]
    with running() as up:
        local = specs_of(up.settings)["current"]
        spec = pinned(replace(local, kind="grpc", server=up.address))
        found = encode_in_executors(spark, spec)(inputs)

    np.testing.assert_array_equal(found, open_encoder(local).encode(inputs))


def test_the_model_gives_the_same_in_a_worker_which_loads_it_once(spark: SparkSession) -> None:
    from jude.encoder.udf import encode_in_executors

    spec = EncoderSpec("all-minilm-l6-v2", threads=1)
    encode = encode_in_executors(spark, spec)
    inputs = [[101, 2000, 102]]  # one task: another worker would import torch for seconds to show the same
    before = loads_per_worker(spark)
    vectors = [encode(inputs) for _ in range(3)]
    after = loads_per_worker(spark)
    own = open_encoder(spec).encode(inputs)
    assert all((v * own).sum(axis=1).min() >= 0.9999 for v in vectors)
    made = [after[pid] - before.get(pid, 0) for pid in after]
    assert max(made) == 1  # three batches, one load in each process that had rows


def loads_per_worker(spark: SparkSession) -> dict[int, int]:
    """Ask every worker process how many models it has ever loaded."""

    def report(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from jude.encoder.opening import models_loaded

        for _ in batches:
            yield pa.RecordBatch.from_pydict({"pid": [os.getpid()], "loads": [models_loaded()]})

    tasks = spark.range(0, 8, 1, 8).mapInArrow(report, "pid long, loads long")
    return {row.pid: row.loads for row in tasks.collect()}


def test_a_worker_takes_one_core() -> None:
    from jude.encoder.udf import _for_one_core

    assert _for_one_core(EncoderSpec("hashing")).threads == 1
    assert _for_one_core(EncoderSpec("hashing", threads=4)).threads == 4
