"""Text to vector on this CPU: our encoder beside sentence-transformers, same folder, same texts, same dtype.

    make bench-encoder                    five alternating rounds, each side at its best setting of a first round
    python -m benchmarks.encoder --smoke  a few texts, one round: that it runs

One JSON object on the last line. Ratios are null when others used the machine meanwhile.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from benchmarks.machine import cores, describe, load, say
from benchmarks.streams import PROJECT
from jude.encoder import EncoderSpec, open_tokeniser
from jude.encoder.packaged import MINILM, find_model

SAMPLE: Final = PROJECT / "data" / "sample" / "0001-snapshot.jsonl.gz"
MOST_BY_OTHERS: Final = 0.1  # of all cores, while we measure
MFLOP_PER_TOKEN: Final = 21.2  # MiniLM: 2 x 10.6 M weights in its products; attention itself comes on top


@dataclass(frozen=True)
class Setting:
    """One way to run one side: `processes` x `threads`."""

    side: str
    dtype: str
    batch: int  # rows for sentence-transformers, tokens for ours
    processes: int
    threads: int

    def __str__(self) -> str:
        unit = "tokens" if self.side == "ours" else "rows"
        return f"{self.side} {self.dtype}, {self.batch} {unit}, {self.processes} x {self.threads}"


@dataclass
class Measured:
    tokens_per_second: list[float] = field(default_factory=list)
    tokens_per_cpu_second: list[float] = field(default_factory=list)
    by_others: list[float] = field(default_factory=list)


class Running:
    """The processes of one setting, loaded and waiting."""

    def __init__(self, setting: Setting, folder: Path, texts: Path) -> None:
        self.setting = setting
        options = {"side": setting.side, "folder": folder, "texts": texts, "dtype": setting.dtype,
                   "batch": setting.batch, "threads": setting.threads, "shares": setting.processes}  # fmt: skip
        command = [sys.executable, "-m", "benchmarks.encoder_side", *(f"--{k}={v}" for k, v in options.items())]
        self._processes = [
            subprocess.Popen([*command, f"--share={n}"], cwd=PROJECT, text=True, bufsize=1,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            for n in range(setting.processes)
        ]  # fmt: skip
        for process in self._processes:
            if self._line(process) != "ready":
                raise RuntimeError(f"{setting} did not start")

    def go(self, word: str = "go") -> tuple[float, float]:
        """Give wall and CPU seconds of one run over all texts."""
        began = time.perf_counter()
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(word + "\n")
            process.stdin.flush()
        answers = [json.loads(self._line(process)) for process in self._processes]
        return time.perf_counter() - began, sum(answer["cpu_seconds"] for answer in answers)

    def stop(self) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()

    @staticmethod
    def _line(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline().strip()


@contextmanager
def running(setting: Setting, folder: Path, texts: Path) -> Iterator[Running]:
    sides = Running(setting, folder, texts)
    try:
        yield sides
    finally:
        sides.stop()


def main() -> None:
    wanted = parse()
    say(describe())
    folder = find_model(MINILM).folder
    sets = text_sets(wanted.texts)
    if wanted.smoke:
        sets = {"lognormal": sets["lognormal"]}
    result: dict[str, Any] = {"model": MINILM}
    with tempfile.TemporaryDirectory(prefix="jude-encoder-") as name:
        place = Path(name)
        for label, texts in sets.items():
            file = place / f"{label}.json"
            file.write_text(json.dumps(texts))
            prefix = "" if label == "lognormal" else f"{label}_"
            found = compare(folder, file, tokens_of(texts), wanted, label)
            result |= {f"{prefix}{key}": value for key, value in found.items()}
        result |= fidelity(folder, place, sets["lognormal"])
        result |= shares_of_peak(folder, place / "lognormal.json", result)
    say(load())
    print(orjson.dumps(result).decode())


def parse() -> argparse.Namespace:
    options = argparse.ArgumentParser()
    options.add_argument("--smoke", action="store_true")
    options.add_argument("--texts", type=int, default=1200)
    options.add_argument("--rounds", type=int, default=5)
    wanted = options.parse_args()
    if wanted.smoke:
        wanted.texts, wanted.rounds = 60, 1
    return wanted


def text_sets(number: int) -> dict[str, list[str]]:
    """Log-normal lengths with mean 120 tokens cut from real prose, and the real short and long texts as they are."""
    with gzip.open(SAMPLE, "rt") as lines:
        rows = [orjson.loads(line)["value"]["after"] for line in lines]
    prose = sorted((" ".join(str(v) for v in row.values() if v) for row in rows), key=len, reverse=True)[:number]
    words = [word for text in prose for word in text.split()]
    rng = np.random.default_rng(20)
    sigma = 0.8
    lengths = np.exp(rng.normal(np.log(120) - sigma**2 / 2, sigma, number)) / 1.45  # tokens per word of this prose
    starts = rng.integers(0, len(words) - 1000, number)
    return {
        "lognormal": [" ".join(words[s : s + max(1, round(n))]) for s, n in zip(starts, lengths, strict=True)],
        "short": [text[:60] for text in prose],
        "long": prose[: max(8, number // 6)],
    }


def tokens_of(texts: Sequence[str]) -> int:
    tokeniser = open_tokeniser(EncoderSpec(MINILM))
    return sum(len(made.token_ids) for made in tokeniser.inputs("job", texts))


def compare(folder: Path, texts: Path, tokens: int, wanted: argparse.Namespace, label: str) -> dict[str, Any]:
    """Find each side's best setting, then alternate them."""
    say(f"{label}: {tokens:,} tokens, unpadded; {load()}")
    chosen = {key: best(folder, texts, tokens, *key, smoke=wanted.smoke)
              for key in product(("ours", "sentence-transformers"), ("float32", "bfloat16"))}  # fmt: skip
    sides = {key: Running(setting, folder, texts) for key, setting in chosen.items()}
    found = {key: Measured() for key in sides}
    try:
        for _ in range(wanted.rounds):
            for key, side in sides.items():
                measure(side, tokens, found[key])
    finally:
        for side in sides.values():
            side.stop()
    for key, one in found.items():
        low, high = min(one.tokens_per_second), max(one.tokens_per_second)
        say(f"  {chosen[key]}: {median(one.tokens_per_second):,.0f} tokens/s ({low:,.0f} to {high:,.0f}), "
            f"{median(one.tokens_per_cpu_second):,.0f} per CPU second")  # fmt: skip
    return figures(found)


def best(folder: Path, texts: Path, tokens: int, side: str, dtype: str, *, smoke: bool) -> Setting:
    """The fastest of batch sizes and of one process with all cores or one per core."""
    batches = (1024, 2048) if side == "ours" else (8, 16, 32)
    ways = ((1, cores()), (cores(), 1))
    settings = [Setting(side, dtype, batch, *way) for batch, way in product(batches, ways)]
    rates = {}
    for setting in settings[-1:] if smoke else settings:
        with running(setting, folder, texts) as one:
            rates[setting] = tokens / one.go()[0]
        say(f"    tried {setting}: {rates[setting]:,.0f} tokens/s")
    return max(rates, key=lambda setting: rates[setting])


def measure(side: Running, tokens: int, into: Measured) -> None:
    busy = busy_seconds()
    wall, cpu = side.go()
    others = max(0.0, busy_seconds() - busy - cpu) / (wall * cores())
    into.tokens_per_second.append(tokens / wall)
    into.tokens_per_cpu_second.append(tokens / cpu)
    into.by_others.append(others)


def figures(found: dict[tuple[str, str], Measured]) -> dict[str, Any]:
    rates = {key: median(one.tokens_per_second) for key, one in found.items()}
    by_others = max(share for one in found.values() for share in one.by_others)
    fair = by_others <= MOST_BY_OTHERS
    if not fair:
        say(f"  others used up to {by_others:.0%} of the cores meanwhile: no ratio of wall time is given")
    peer = "sentence-transformers"
    ratios = {
        "speedup_fp32": (("ours", "float32"), (peer, "float32")),
        "speedup_bf16": (("ours", "bfloat16"), (peer, "bfloat16")),
        "speedup_fast_over_fp32": (("ours", "bfloat16"), (peer, "float32")),
    }
    cpu = {key: median(one.tokens_per_cpu_second) for key, one in found.items()}
    return {
        **{name: round(rates[a] / rates[b], 3) if fair else None for name, (a, b) in ratios.items()},
        **{f"cpu_{name}": round(cpu[a] / cpu[b], 3) for name, (a, b) in ratios.items()},
        **{f"tokens_per_second_{side.split('-')[0]}_{dtype}": round(rate) for (side, dtype), rate in rates.items()},
        "by_others": round(by_others, 3),
    }


def fidelity(folder: Path, place: Path, texts: Sequence[str]) -> dict[str, float]:
    """Lowest cosine to sentence-transformers in float32, one text at a time."""
    file = place / "fidelity.json"
    file.write_text(json.dumps(texts[:64]))

    def vectors(side: str, dtype: str, batch: int) -> NDArray[np.float64]:
        kept = place / f"{side}-{dtype}.npy"
        with running(Setting(side, dtype, batch, 1, cores()), folder, file) as one:
            one.go(str(kept))
        rows = np.load(kept).astype(np.float64)
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))

    reference = vectors("sentence-transformers", "float32", 1)
    exact, fast = (vectors("ours", dtype, 2048) for dtype in ("float32", "bfloat16"))
    return {"cos_min_fp32": round(float((exact * reference).sum(1).min()), 7),
            "cos_min_fast": round(float((fast * reference).sum(1).min()), 7)}  # fmt: skip


def shares_of_peak(folder: Path, texts: Path, result: dict[str, Any]) -> dict[str, float]:
    """What part of the speed of large products, measured now, the model's products reach."""
    found = {}
    for dtype in ("float32", "bfloat16"):
        kept = texts.with_name(f"peak-{dtype}.npy")
        with running(Setting("peak", dtype, 1, 1, cores()), folder, texts) as one:
            one.go(str(kept))
        peak = float(np.load(kept)[0])
        reached = result[f"tokens_per_second_ours_{dtype}"] * MFLOP_PER_TOKEN / 1000
        found |= {f"gemm_peak_gflops_{dtype}": round(peak), f"share_of_peak_{dtype}": round(reached / peak, 3)}
    return found


def busy_seconds() -> float:
    """CPU time that everything on this machine has used; 0 where the system does not say."""
    try:
        first = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()
    except OSError:
        return 0.0
    user, nice, system, _, _, irq, soft = map(int, first[1:8])
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
