"""Text to vector on this CPU: our encoder beside sentence-transformers, same folder, same texts, same dtype.

    make bench-encoder                          everything, about ten minutes
    python -m benchmarks.encoder --only lognormal --only int8 --rounds 3
    python -m benchmarks.encoder --smoke        a few texts, one round: that it runs

Each side runs at the fastest of its batch sizes and of one process with all threads or one process per core. One JSON
object on the last line; what was measured so far is printed after every part. Ratios are null when others used the
machine meanwhile.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from benchmarks import PROJECT, peers
from benchmarks.encoding.figures import PEER, Key, cosine_min, over, prefixed, rate, ratios, spread
from benchmarks.encoding.running import Measured, Running, gemm_gflops, running
from benchmarks.encoding.texts import smollm2, text_sets, token_count
from benchmarks.measuring.machine import cores, describe, load, say
from jude.encoder.packaged import MINILM, find_model

MFLOP_PER_TOKEN: Final = 21.2  # MiniLM: 2 x 10.6 M weights in its products; attention itself comes on top
PARTS: Final = ("lognormal", "short", "long", "fidelity", "peak", "int8", "smollm2", "start")
BOTH: Final[tuple[Key, ...]] = tuple((side, dtype) for dtype in ("float32", "bfloat16") for side in ("ours", PEER))
INT8: Final[tuple[Key, ...]] = (
    ("ours", "bfloat16"), (PEER, "float32"), ("int8-torch", "float32"), ("int8-onnx", "float32"),
)  # fmt: skip


class Comparison:
    """All parts; each adds its keys to `result`."""

    def __init__(self, place: Path, wanted: argparse.Namespace, folder: Path) -> None:
        self.place, self.wanted, self.folder = place, wanted, folder
        self.texts = text_sets(wanted.texts)
        self.result: dict[str, Any] = {"model": MINILM}

    def lognormal(self) -> dict[str, Any]:
        return ratios(self.race("lognormal", BOTH))

    def short(self) -> dict[str, Any]:
        return prefixed("short", ratios(self.race("short", BOTH)))

    def long(self) -> dict[str, Any]:
        return prefixed("long", ratios(self.race("long", BOTH)))

    def int8(self) -> dict[str, Any]:
        """int8 of others as candidates for a fast path: rates beside ours in bfloat16, and how far the vectors are.

        A quarter of the texts: PyTorch's int8 is the slowest of all.
        """
        export_onnx(self.folder, self.place / "onnx")
        self.texts["int8"] = self.texts["lognormal"][:: 1 if self.wanted.smoke else 4]
        found = self.race("int8", INT8)
        exact = self.vectors((PEER, "float32"), 1)
        low = {key[0]: cosine_min(exact, self.vectors(key, 8)) for key in INT8 if key[0].startswith("int8")}
        return {f"tokens_per_second_{key[0]}": rate(found[key]) for key in INT8 if key[0] in low} | {
            **{f"cos_min_{side}": value for side, value in low.items()},
            **{f"ours_bf16_over_{side}": over(found[INT8[0]], found[side, "float32"]) for side in low},
        }

    def smollm2(self) -> dict[str, Any]:
        """A real decoder with last pooling, a twelfth of the texts: it costs twelve times as much."""
        folder = smollm2(self.place)
        if folder is None:
            say("smollm2: its package is not installed (make test-smollm2)")
            return {}
        other = Comparison(self.place, self.wanted, folder)
        other.texts["smollm2"] = self.texts["lognormal"][::12]
        return prefixed("smollm2", {**ratios(other.race("smollm2", BOTH)), **other.fidelity()})

    def fidelity(self) -> dict[str, Any]:
        """Lowest cosine to sentence-transformers in float32, one text at a time."""
        exact = self.vectors((PEER, "float32"), 1)
        return {f"cos_min_{name}": cosine_min(exact, self.vectors(("ours", dtype), 2048))
                for name, dtype in (("fp32", "float32"), ("fast", "bfloat16"))}  # fmt: skip

    def peak(self) -> dict[str, Any]:
        """What part of the speed of large products, measured now, the model's products reach."""
        found: dict[str, Any] = {}
        for dtype in ("float32", "bfloat16"):
            peak = gemm_gflops(dtype, self.place)
            found[f"gemm_peak_gflops_{dtype}"] = round(peak)
            if tokens := self.result.get(f"tokens_per_second_ours_{dtype}"):
                found[f"share_of_peak_{dtype}"] = round(tokens * MFLOP_PER_TOKEN / 1000 / peak, 3)
        return found

    def start(self) -> dict[str, Any]:
        """Seconds of each phase of a cold start."""
        found = {}
        for side, dtype in (("ours", "float32"), ("ours", "bfloat16"), ("peer", "float32")):
            command = [sys.executable, "-m", "benchmarks.encoding.start", side, str(self.folder), dtype]
            answer = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True).stdout
            found[f"start_seconds_{side}_{dtype}"] = json.loads(answer.splitlines()[-1])
        return found

    def race(self, label: str, keys: Iterable[Key]) -> dict[Key, Measured]:
        """Find each side's best setting on a quarter of the texts, then alternate the sides over all of them."""
        texts = self.texts[label]
        whole, part = self.written(label, texts), self.written(f"{label}-part", texts[::4])
        tokens, part_tokens = token_count(self.folder, texts), token_count(self.folder, texts[::4])
        say(f"{label}: {tokens:,} tokens, unpadded; {load()}")
        with ExitStack() as stack:
            sides = {key: self.best(stack, key, part, part_tokens) for key in keys}
            found = {key: Measured(f"{one.setting}, batch {batch}") for key, (one, batch) in sides.items()}
            for _ in range(self.wanted.rounds):
                for key, (one, batch) in sides.items():
                    one.measure(whole, tokens, batch, found[key])
        for measured in found.values():
            say(f"  {spread(measured)}")
        return found

    def best(self, stack: ExitStack, key: Key, texts: Path, tokens: int) -> tuple[Running, int]:
        """The fastest of batch sizes and of one process with all cores or one per core."""
        ways = ((cores(), 1),) if self.wanted.smoke else ((1, cores()), (cores(), 1))
        batches = (1024, 2048) if key[0] == "ours" else (8, 16, 32)
        rates = {}
        for one in stack.enter_context(running(*key, self.folder_of(key), ways)):
            for batch in batches:
                one.encode(texts, batch)
                rates[one, batch] = tokens / one.encode(texts, batch)[0]
        tried = ", ".join(f"{n.setting.processes}x{n.setting.threads}/{b} {r:,.0f}" for (n, b), r in rates.items())
        say(f"    {' '.join(key)}, processes x threads/batch tokens/s: {tried}")
        return max(rates, key=lambda setting: rates[setting])

    def vectors(self, key: Key, batch: int) -> NDArray[np.float64]:
        """Vectors of the first texts from one process, of unit norm."""
        file, kept = self.written("few", self.texts["lognormal"][:64]), self.place / "kept.npy"
        with running(*key, self.folder_of(key), [(1, cores())]) as (one,):
            one.encode(file, batch, kept)
        rows = np.load(kept).astype(np.float64)
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))

    def folder_of(self, key: Key) -> Path:
        return self.place / "onnx" if key[0] == "int8-onnx" else self.folder

    def written(self, name: str, texts: Sequence[str]) -> Path:
        file = self.place / f"{name}.json"
        file.write_text(json.dumps(texts))
        return file


def export_onnx(folder: Path, target: Path) -> None:
    """Write the model in int8 for ONNX Runtime, in the environment of that peer."""
    python = peers.environment("onnx") / "bin/python"
    subprocess.run([python, "-m", "benchmarks.encoding.int8_onnx", folder, target], cwd=PROJECT, check=True)


def main(argv: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.encoder", description=(__doc__ or "").split("\n")[0])
    options.add_argument("--smoke", action="store_true")
    options.add_argument("--texts", type=int, default=200)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--only", action="append", choices=PARTS)
    wanted = options.parse_args(argv)
    if wanted.smoke:
        wanted.texts, wanted.rounds = 60, 1
    say(describe())
    with tempfile.TemporaryDirectory(prefix="jude-encoder-") as name:
        comparison = Comparison(Path(name), wanted, find_model(MINILM).folder)
        for part in [part for part in PARTS if wanted.only is None or part in wanted.only]:
            found = getattr(comparison, part)()
            say(f"{part}: {found}")
            comparison.result |= found
    say(load())
    print(orjson.dumps(comparison.result).decode())


if __name__ == "__main__":
    main()
