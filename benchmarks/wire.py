"""What a vector costs on the wire: bytes and CPU, ours against `repeated float` and JSON.

make bench-wire      # or: python -m benchmarks.wire
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from numpy.typing import NDArray

from benchmarks.measuring.machine import describe, say
from jude.encoder.packing import as_bytes
from jude.serving.embeddings import read_batch
from jude.serving.v1 import embedding_pb2 as pb

ROWS, WIDTH, TRIES = 1000, 4096, 5
Vectors = NDArray[np.float32]


def ours(dtype: str) -> tuple[Callable[[Vectors], bytes], Callable[[bytes], Vectors]]:
    """One contiguous field of bytes, read as numpy."""
    number = {"float32": pb.DTYPE_FLOAT32, "bfloat16": pb.DTYPE_BFLOAT16}[dtype]

    def write(vectors: Vectors) -> bytes:
        response = pb.EmbedBatchResponse(dtype=number, dimension=WIDTH, vectors=as_bytes(vectors, dtype))
        response.items.extend([pb.ItemResult(input_hash="0" * 32, tokens=120)] * len(vectors))
        return response.SerializeToString()

    return write, lambda data: read_batch(pb.EmbedBatchResponse.FromString(data)).vectors


def repeated_float() -> tuple[Callable[[Vectors], bytes], Callable[[bytes], Vectors]]:
    """A message per vector with `repeated float`, as most embedding services have it."""
    file = descriptor_pb2.FileDescriptorProto(name="bench_wire.proto", package="bench", syntax="proto3")
    field = descriptor_pb2.FieldDescriptorProto
    row = file.message_type.add(name="Row")
    row.field.add(name="values", number=1, type=field.TYPE_FLOAT, label=field.LABEL_REPEATED)
    rows = file.message_type.add(name="Rows")
    rows.field.add(name="rows", number=1, type=field.TYPE_MESSAGE, label=field.LABEL_REPEATED, type_name=".bench.Row")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    kind: Any = message_factory.GetMessageClass(pool.FindMessageTypeByName("bench.Rows"))

    def write(vectors: Vectors) -> bytes:
        message = kind()
        for vector in vectors:
            message.rows.add(values=vector)
        data: bytes = message.SerializeToString()
        return data

    return write, lambda data: np.array([row.values for row in kind.FromString(data).rows], np.float32)


def as_json() -> tuple[Callable[[Vectors], bytes], Callable[[bytes], Vectors]]:
    """As embedding services over HTTP have it, with the fastest JSON library there is."""
    return (
        lambda vectors: orjson.dumps({"data": list(vectors)}, option=orjson.OPT_SERIALIZE_NUMPY),
        lambda data: np.array(orjson.loads(data)["data"], np.float32),
    )


def measure(vectors: Vectors, write: Callable[[Vectors], bytes], read: Callable[[bytes], Vectors]) -> dict[str, Any]:
    """Bytes, and CPU microseconds per vector; the best of some tries."""
    data = write(vectors)
    worst = float(np.abs(read(data) - vectors).max())
    return {
        "bytes_per_vector": round(len(data) / len(vectors)),
        "write_us_per_vector": _best_us(lambda: write(vectors), len(vectors)),
        "read_us_per_vector": _best_us(lambda: read(data), len(vectors)),
        "largest_error": worst,
    }


def _best_us(work: Callable[[], object], rows: int) -> float:
    def once() -> float:
        start = time.process_time()
        work()
        return time.process_time() - start

    return round(1e6 * min(once() for _ in range(TRIES)) / rows, 2)


def main() -> None:
    """Print a line per format, then one JSON object."""
    argparse.ArgumentParser(prog="python -m benchmarks.wire", description=(__doc__ or "").split("\n")[0]).parse_args()
    say(describe())
    vectors = np.random.default_rng(7).standard_normal((ROWS, WIDTH)).astype(np.float32)
    formats = {"ours": ours("float32"), "ours bfloat16": ours("bfloat16"), "repeated float": repeated_float()}
    found = {name: measure(vectors, *pair) for name, pair in {**formats, "json": as_json()}.items()}
    for name, numbers in found.items():
        say(f"{name:>15}: {numbers}")
    cpu = {name: n["write_us_per_vector"] + n["read_us_per_vector"] for name, n in found.items()}
    ratios = {
        f"{what}_over_ours_{name.replace(' ', '_')}": round(value / base, 2)
        for name in ("repeated float", "json")
        for what, value, base in (
            ("cpu", cpu[name], cpu["ours"]),
            ("bytes", found[name]["bytes_per_vector"], found["ours"]["bytes_per_vector"]),
        )
    }
    print(json.dumps({**ratios, "rows": ROWS, "width": WIDTH, "formats": found}), flush=True)


if __name__ == "__main__":
    main()
