"""The encoder in Spark's Python workers: each loads the model once and keeps it for all later batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import BinaryType, StructField, StructType

from jude.encoder.opening import open_encoder
from jude.encoder.resilient import Encode
from jude.encoder.spec import EncoderSpec


def encode_in_executors(spark: SparkSession, spec: EncoderSpec) -> Encode:
    """Make an encode function that spreads its inputs over the executors and collects their vectors."""
    return partial(_encode, spark, spec)


def encode_column(inputs: DataFrame, spec: EncoderSpec) -> DataFrame:
    """Encode where the rows are; one Arrow batch is one window to sort by length.

    Columns in:  token_ids (array<int>), and any others, such as input_hash
    Columns out: the others, vector (binary: `width` little-endian float32; NaN where an input could not be read)
    """
    others = [column for column in inputs.schema.fields if column.name != "token_ids"]
    schema = StructType([*others, StructField("vector", BinaryType(), nullable=False)])
    return inputs.mapInArrow(_encode_batches(_for_one_core(spec)), schema)


def _for_one_core(spec: EncoderSpec) -> EncoderSpec:
    """Spark runs one Python worker per core: a model that takes all cores in each of them fights with itself."""
    return replace(spec, threads=spec.threads or 1)


def _encode_batches(spec: EncoderSpec) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def encode(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:  # a task without rows loads no model
            encoder = open_encoder(spec)  # remembered by its module, so by this worker process
            vectors = encoder.encode(batch["token_ids"].to_pylist()).astype("<f4", copy=False)
            data = pa.array([row.tobytes() for row in vectors], pa.binary())
            yield batch.drop_columns("token_ids").append_column("vector", data)

    return encode


def _encode(spark: SparkSession, spec: EncoderSpec, token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    if not token_ids:
        return open_encoder(spec).encode([])
    inputs = _dealt(token_ids, spark.sparkContext.defaultParallelism)
    found = encode_column(spark.createDataFrame(inputs), spec).toArrow()
    rows = np.frombuffer(b"".join(found["vector"].to_pylist()), "<f4").reshape(found.num_rows, -1)
    vectors = np.empty((len(token_ids), rows.shape[1]), np.float32)
    vectors[found["row"].to_numpy()] = rows
    return vectors


def _dealt(token_ids: Sequence[Sequence[int]], tasks: int) -> pa.Table:
    """Lay the inputs so that equal slices of rows, which Spark makes of them, hold about equally many tokens."""
    by_length = np.argsort([len(ids) for ids in token_ids], kind="stable")
    order = np.concatenate([by_length[task::tasks] for task in range(tasks)])
    ids = pa.array([token_ids[row] for row in order], pa.list_(pa.int32()))
    return pa.table({"row": pa.array(order, pa.int64()), "token_ids": ids})
