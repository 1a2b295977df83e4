"""One way to run one side of the encoder benchmark: its processes, loaded and waiting."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import numpy as np

from benchmarks import PROJECT, peers
from benchmarks.measuring.machine import cores
from benchmarks.measuring.processes import MOST_BY_OTHERS, busy_seconds

_TRIES = 3


@dataclass(frozen=True)
class Setting:
    """One side in `processes` x `threads`."""

    side: str  # ours, sentence-transformers, int8-torch, int8-onnx, gemm
    dtype: str
    processes: int
    threads: int

    def __str__(self) -> str:
        return f"{self.side} {self.dtype}, {self.processes} x {self.threads}"


@dataclass
class Measured:
    """The runs of one side at its best setting."""

    setting: str
    tokens_per_second: list[float] = field(default_factory=list)
    tokens_per_cpu_second: list[float] = field(default_factory=list)
    by_others: list[float] = field(default_factory=list)  # share of all cores that other programs used meanwhile


class Running:
    """The processes of one setting; each encodes its share of the texts when told to."""

    def __init__(self, setting: Setting, folder: Path) -> None:
        """Start them and wait until they are loaded. Raises RuntimeError."""
        self.setting = setting
        options = {"side": setting.side, "folder": folder, "dtype": setting.dtype, "threads": setting.threads}
        command = [_python(setting.side), "-m", "benchmarks.encoding.side", *(f"--{k}={v}" for k, v in options.items())]
        self._processes = [
            subprocess.Popen([*command, f"--share={n}/{setting.processes}"], cwd=PROJECT, text=True, bufsize=1,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            for n in range(setting.processes)
        ]  # fmt: skip
        for process in self._processes:
            if self._line(process) != "ready":
                raise RuntimeError(f"{setting} did not start")

    def encode(self, texts: Path, batch: int, keep: Path | None = None) -> tuple[float, float]:
        """Give wall and CPU seconds of one run over a file of texts; `keep` is where its vectors go."""
        began = perf_counter()
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(json.dumps({"texts": str(texts), "batch": batch, "keep": keep and str(keep)}) + "\n")
            process.stdin.flush()
        answers = [json.loads(self._line(process)) for process in self._processes]
        return perf_counter() - began, sum(answer["cpu_seconds"] for answer in answers)

    def measure(self, texts: Path, tokens: int, batch: int, into: Measured) -> None:
        """Add one run; one that other programs disturbed is repeated, three times at most."""
        for _ in range(_TRIES):
            busy = busy_seconds()
            wall, cpu = self.encode(texts, batch)
            by_others = max(0.0, busy_seconds() - busy - cpu) / (wall * cores())
            if by_others <= MOST_BY_OTHERS:
                break
        into.tokens_per_second.append(tokens / wall)
        into.tokens_per_cpu_second.append(tokens / cpu)
        into.by_others.append(by_others)

    def stop(self) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()

    @staticmethod
    def _line(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline().strip()


def _python(side: str) -> str:
    """ONNX Runtime lives in an environment of its own; the others in this one."""
    return str(peers.environment("onnx") / "bin/python") if side == "int8-onnx" else sys.executable


@contextmanager
def running(side: str, dtype: str, folder: Path, ways: Sequence[tuple[int, int]]) -> Iterator[list[Running]]:
    """One side in each of some ways (processes, threads)."""
    started: list[Running] = []
    try:
        for processes, threads in ways:
            started.append(Running(Setting(side, dtype, processes, threads), folder))
        yield started
    finally:
        for one in started:
            one.stop()


def gemm_gflops(dtype: str, place: Path) -> float:
    """The speed of large products on all cores, now. `place` is a folder to write in."""
    nothing, kept = place / "no-texts.json", place / "gemm.npy"
    nothing.write_text("[]")
    with running("gemm", dtype, place, [(1, cores())]) as (one,):
        one.encode(nothing, batch=20, keep=kept)
    return float(np.load(kept)[0])
