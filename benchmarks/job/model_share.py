"""How much of the model's speed the whole bulk job keeps: MiniLM in the job against the same encoder in a bare loop.

python -m benchmarks.pipeline model     the model in the job's own process
make bench-grpc                         behind a server: the job against the server's bulk capacity
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any, Final

import orjson

from benchmarks import PROJECT
from benchmarks.changes.streams import Record, as_table, entities
from benchmarks.changes.synthesis import base_records, copies_of
from benchmarks.job.run import CONF, profile, spawn
from benchmarks.measuring.machine import load, say
from jude.encoder import EncoderSpec, open_encoder, open_tokeniser
from jude.planning import add_inputs, plan_batch
from jude.planning.rows import KNOWN
from jude.settings import load_settings
from jude.stream.opening import encoder_spec

MODEL: Final = "all-minilm-l6-v2"
_OVERRIDES: Final[Mapping[str, str]] = {"encoder.kind": MODEL, "encoder.width": "null"}


def throughput_share(
    shared: Path, *, texts: int = 8_000, repeats: int = 2, overrides: Mapping[str, str] = _OVERRIDES
) -> dict[str, float]:
    """Job, bare loop, job, bare loop, ...: medians of texts per second, without Spark's start and loading the model."""
    records = one_change_per_text(base_records(shared), texts)
    job_rates, bare_rates = [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory(prefix="jude-model-") as name:
            folder = Path(name)
            write(records, folder / "changes")
            result = spawn(folder, overrides, len(records))
            job_rates.append(result["inferences"] / result["stream_seconds"])
            say(
                f"  job:  {result['inferences']} texts, {result['tokens']:,} tokens in "
                f"{result['stream_seconds']:.1f} s = {job_rates[-1]:.1f} texts/s; {load()}\n"
                f"    not counted: Spark's start {result['spark_start_seconds']:.1f} s, "
                f"opening tables and model {result['open_seconds']:.1f} s"
            )
            say(profile(result))
            bare = _spawn_bare(folder, overrides)
        bare_rates.append(bare["texts"] / bare["seconds"])
        say(f"  bare: {bare['texts']} texts, {bare['tokens']:,} tokens in {bare['seconds']:.1f} s = "
            f"{bare_rates[-1]:.1f} texts/s; {load()}")  # fmt: skip
        if (bare["texts"], bare["tokens"]) != (result["inferences"], result["tokens"]):
            raise RuntimeError("the job and the bare loop did not encode the same inputs")
    return {"model_throughput_share": round(median(job_rates) / median(bare_rates), 3)}


def one_change_per_text(base: Sequence[Record], texts: int) -> list[Record]:
    """Pick first rows of keys spread over the stream; beyond that, copies of them with their number in the text."""
    first = {(r["topic"], r["key"]["id"]): r for r in reversed(base) if r["value"] and r["value"]["op"] in ("c", "r")}
    whole = list(first.values())
    spread = whole[:: max(1, len(whole) // texts)]
    return list(chain.from_iterable(copies_of(spread, -(-texts // len(spread)))))[:texts]


def write(records: Sequence[Record], folder: Path) -> None:
    """Write one file of changes."""
    folder.mkdir(parents=True)
    (folder / "00000.jsonl").write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))


def _spawn_bare(folder: Path, overrides: Mapping[str, str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.job.model_share", str(folder), orjson.dumps(dict(overrides)).decode()]
    answer = subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.PIPE).stdout
    return dict(orjson.loads(answer.splitlines()[-1]))


def bare_loop(folder: Path, overrides: Mapping[str, str]) -> dict[str, Any]:
    """Encode the distinct inputs of the changes under `folder`, by nothing but the encoder."""
    from jude.changes.decode import decode
    from jude.stream.opening import now

    settings = load_settings(CONF, [f"{key}={value}" for key, value in overrides.items()])
    shipped = {name: e for name, e in entities().items() if name in ("job", "member", "resume")}
    spec: EncoderSpec = encoder_spec(settings.encoder, type(entities())(shipped.values()))
    records = [orjson.loads(line) for line in (folder / "changes" / "00000.jsonl").read_bytes().splitlines()]
    changes = decode(as_table(records), entities(), 0, now()).changes
    planned = add_inputs(plan_batch(changes, KNOWN.empty_table(), entities()), open_tokeniser(spec))
    pairs = zip(planned["input_hash"].to_pylist(), planned["token_ids"].to_pylist(), strict=True)
    distinct = {input_hash: ids for input_hash, ids in pairs if input_hash is not None}
    encode = partial(open_encoder(spec).encode, list(distinct.values()))
    began = time.monotonic()
    encode()
    seconds = time.monotonic() - began
    return {"texts": len(distinct), "tokens": sum(map(len, distinct.values())), "seconds": seconds}


if __name__ == "__main__":
    print(orjson.dumps(bare_loop(Path(sys.argv[1]), orjson.loads(sys.argv[2]))).decode())
