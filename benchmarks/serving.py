"""Our server against infinity and vLLM on one model, open loop, each at its own best setting.

    make bench-serving      # or: python -m benchmarks.serving [--seconds 10] [--rounds 3] [--only ours] [--share 0.8]

Every server reads the same folder (`benchmarks.servers.small_qwen`) and gets the same texts: no text twice in a run,
lengths log-normal with a mean of 120 tokens. First its capacity, closed loop, with one and with two threads, half as
long. Then in every round, at the better of the two: the capacity again, and Poisson arrivals at 80 and 200 % of it,
with one deadline for all; in the first round at 50, 70, 90 and 110 %, too. Servers alternate within a round. infinity,
whose target is one of float32, is left out in bfloat16. What is known so far is printed as JSON after every round.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks import peers
from benchmarks.encoding.running import gemm_gflops
from benchmarks.measuring.machine import cores, describe, load, say
from benchmarks.measuring.processes import MOST_BY_OTHERS, busy_seconds, cpu_seconds
from benchmarks.servers.contenders import MEAN_TOKENS, NAMES, Contender, Setting, Texts, started
from benchmarks.servers.offering import LATE_LIMIT_SECONDS, closed_loop, open_loop
from benchmarks.servers.small_qwen import make_folder

SHARES: Final = (0.8, 2.0)  # that the targets name: in every round
CURVE: Final = (0.5, 0.7, 0.8, 0.9, 1.1, 2.0)  # of the first round
MFLOP_PER_TOKEN: Final = 50.3  # two for each weight in the products of 8 layers
_TRIES: Final = 3


@dataclass
class Found:
    """What was measured of one server in one dtype."""

    setting: Setting
    by_threads: dict[int, int]  # tokens per second
    capacities: list[dict[str, Any]] = field(default_factory=list)
    runs: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))

    @property
    def capacity(self) -> float:
        """Tokens per second, closed loop."""
        return median(float(one["tokens_per_second"]) for one in self.capacities)

    def middle(self, share: float, key: str) -> float | None:
        values = [run[key] for run in self.runs.get(str(share), ()) if _is_fair(run) and run[key] is not None]
        return median(values) if values else None

    @property
    def by_others(self) -> float:
        return max(float(one["by_others"]) for one in self.capacities)


def _is_fair(run: dict[str, Any]) -> bool:
    """Neither were the cores taken by others, nor was the generator late."""
    on_time = run["generator_late_ms"] <= 1000 * LATE_LIMIT_SECONDS
    return bool(on_time and run["by_others"] <= MOST_BY_OTHERS)


def capacity(to: Contender, seconds: float, seed: int) -> dict[str, Any]:
    """Tokens per second of the closed loop."""

    def measure(texts: Texts) -> dict[str, Any]:
        return {"tokens_per_second": round(asyncio.run(closed_loop(to.connect, texts, seconds)))}

    return undisturbed(to, seed, measure)


def offered(to: Contender, per_second: float, seconds: float, seed: int) -> dict[str, Any]:
    """What became of the open loop."""

    def measure(texts: Texts) -> dict[str, Any]:
        return asyncio.run(open_loop(to.connect, texts, per_second, seconds, seed))

    return undisturbed(to, seed, measure)


def undisturbed(to: Contender, seed: int, measure: Callable[[Texts], dict[str, Any]]) -> dict[str, Any]:
    """A run with the cores that server, generator and everything else took; a disturbed one is repeated, twice."""
    found: dict[str, Any] = {}
    for attempt in range(_TRIES):
        before = (cpu_seconds(to.process), time.process_time(), busy_seconds(), time.perf_counter())
        found = measure(Texts(seed + 1000 * attempt, to))
        after = (cpu_seconds(to.process), time.process_time(), busy_seconds(), time.perf_counter())
        server, generator, all_of_it, wall = (b - a for a, b in zip(before, after, strict=True))
        by_others = max(0.0, all_of_it - server - generator) / (wall * cores())
        found |= {"server_cores": round(server / wall, 2), "generator_cores": round(generator / wall, 2),
                  "by_others": round(by_others, 3)}  # fmt: skip
        if by_others <= MOST_BY_OTHERS:
            break
        say(f"others took {by_others:.0%}: {found}")
    return found


def best_setting(name: str, dtype: str, model: Path, seconds: float) -> Found:
    """The number of threads with which a server computes most."""
    found = {}
    for threads in range(1, cores() + 1):
        setting = Setting(name, dtype, threads)
        with started(setting, model) as server:
            found[setting] = capacity(server, seconds, 1)
        say(f"{name} {dtype}, {threads} threads: {found[setting]}; {load()}")
    best = max(found, key=lambda setting: found[setting]["tokens_per_second"])
    by_threads = {setting.threads: one["tokens_per_second"] for setting, one in found.items()}
    return Found(best, by_threads)


def measure(names: Sequence[str], dtype: str, given: argparse.Namespace, model: Path) -> dict[str, Any]:
    """Settings first, then rounds."""
    peak = gemm_gflops(dtype, model)
    found = {
        name: Found(Setting(name, dtype, given.threads), {}) if given.threads
        else best_setting(name, dtype, model, given.seconds / 2)
        for name in names if name != "infinity" or dtype == "float32" or given.only
    }  # fmt: skip
    for number in range(given.rounds):
        for name, one in found.items():
            with started(one.setting, model) as server:
                one.capacities.append(capacity(server, given.seconds, 100 + number))
                say(f"round {number + 1}, {name} {dtype}, capacity: {one.capacities[-1]}; {load()}")
                for share in given.share or (SHARES if number else CURVE):
                    per_second = share * one.capacity / MEAN_TOKENS
                    run = offered(server, per_second, given.seconds, 7 + number)
                    one.runs[str(share)].append(run)
                    say(f"round {number + 1}, {name} {dtype} at {share:.0%}: {run}; {load()}")
        say(f"so far: {json.dumps(keys(found, peak))}")
    return {**keys(found, peak), "runs": {name: one.runs for name, one in found.items()}}


def keys(found: dict[str, Found], peak: float) -> dict[str, Any]:
    """The figures that the documents name."""
    ours = found.get("ours")
    unfair = {name: sum(not _is_fair(run) for runs in one.runs.values() for run in runs) for name, one in found.items()}
    result: dict[str, Any] = {
        "capacity_tokens_per_second": {name: round(one.capacity) for name, one in found.items()},
        "tokens_per_second_by_threads": {name: one.by_threads for name, one in found.items()},
        "server_cores": {name: one.capacities[-1]["server_cores"] for name, one in found.items()},
        "p95_ms_at_80": {name: one.middle(0.8, "p95_ms") for name, one in found.items()},
        "gemm_peak_gflops": round(peak),
        "share_of_peak": {name: round(one.capacity * MFLOP_PER_TOKEN / 1000 / peak, 3) for name, one in found.items()},
        "disturbed_runs": unfair,  # by other programs, or by a generator that was late: in no figure here
    }
    if ours is None:
        return result
    fair = {name: max(ours.by_others, one.by_others) <= MOST_BY_OTHERS for name, one in found.items()}
    good = ours.middle(2.0, "tokens_per_second")
    return {
        **{f"over_{name}": round(ours.capacity / one.capacity, 3) if fair[name] else None
           for name, one in found.items() if one is not ours},
        "overload_goodput_share": None if good is None else round(good / ours.capacity, 3),
        "overload_p95_ms": ours.middle(2.0, "p95_ms"),
        "refusal_ms_p50": ours.middle(2.0, "refusal_ms_p50"),
        **result,
    }  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Print a line per run, then one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=10, help="of each run, after its warm-up (default: 10)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of every server; default: the better of one and all cores")
    parser.add_argument("--only", action="append", choices=NAMES, help="these servers")
    parser.add_argument("--share", action="append", type=float, help=f"of capacity; default: {SHARES}, first {CURVE}")
    parser.add_argument("--dtype", action="append", choices=("float32", "bfloat16"), help="default: float32")
    given = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers end, too
    names = [name for name in NAMES if given.only is None or name in given.only]
    say(describe())
    for name in names:
        say(f"{name}: {peers.versions(name)}")
    with tempfile.TemporaryDirectory() as folder:
        model = make_folder(Path(folder) / "qwen3-29m")
        found = {dtype: measure(names, dtype, given, model) for dtype in given.dtype or ["float32"]}
    bfloat16 = {f"{key}_bf16": value for key, value in found.get("bfloat16", {}).items() if key.startswith("over")}
    print(json.dumps({**found.get("float32", {}), **bfloat16, "all": found}), flush=True)


if __name__ == "__main__":
    main()
