"""make bench-training: our training beside that of sentence-transformers: same model, pairs, loss, rank and dtype.

Real tokens of both sides of all pairs a second: without padding, texts that repeat counted each time. Rounds alternate
in one process. First the loss and the gradient of one equal batch are compared: speed is not bought by doing less, and
both sides are warm.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

import numpy as np
import pyarrow as pa

from benchmarks.measuring.machine import cores, describe, load, say, version
from benchmarks.measuring.processes import MOST_BY_OTHERS, busy_seconds
from benchmarks.tuning.pairs import constant_length, postings_and_profiles, titles
from benchmarks.tuning.sides import Ours, Rows, Theirs, same_start, tokenised
from jude.training.data import Sampler, TokenisedPairs
from jude.training.settings import BatchSettings

MINI_BATCHES: Final = (8, 16, 32)
MOST_DISTANCE: Final = 1e-4  # of loss and gradient, relative


@dataclass(frozen=True)
class Case:
    """One ratio: its pairs, pairs of one update, updates of a round."""

    key: str
    pairs: pa.Table
    batch: int
    updates: int
    cached: bool = False


def main() -> None:
    asked = _parse()
    say(describe())
    say(f"sentence-transformers {version('sentence-transformers')}, transformers {version('transformers')}")
    found: dict[str, Any] = {}
    for case in cases():
        if case.key in (asked.only or [case.key]):
            found |= compared(case, asked.rounds)
    say(load())
    print(json.dumps(found))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", help="names of ratios; default: all")
    return parser.parse_args()


def cases() -> list[Case]:
    return [
        Case("over_sentence_transformers", postings_and_profiles(64), 64, 1),
        Case("titles_over_sentence_transformers", titles(256), 64, 4),
        Case("constant_length_over_sentence_transformers", constant_length(128), 64, 2),
        Case("cached_over_sentence_transformers", titles(1024), 1024, 1, cached=True),
    ]


def compared(case: Case, rounds: int) -> dict[str, Any]:
    data = tokenised(case.pairs)
    sampler = Sampler(data.pairs, case.batch, seed=0)
    batches = [sampler.rows(n) for n in range(case.updates)]
    ours = Ours(data, BatchSettings(pairs=case.batch, chunk_tokens=2048, kept_tokens=32768))
    theirs = Theirs(data.pairs, best_mini_batch(data, batches) if case.cached else None)
    same_start(ours, theirs)
    distances = distance(ours, theirs, without_repeats(data, case.batch))
    tokens = sum(ours.maker.batch(rows).real_tokens for rows in batches)
    seconds: dict[str, list[float]] = {ours.name: [], theirs.name: []}
    others = 0.0
    for _ in range(rounds):
        for side in (ours, theirs):
            taken, by_others = timed(side, batches)
            seconds[side.name].append(taken)
            others = max(others, by_others)
    return told(case, tokens, seconds, distances, others)


def timed(side: Ours | Theirs, batches: list[Rows]) -> tuple[float, float]:
    """Seconds of the updates, and the share of the cores that others used."""
    busy, cpu, began = busy_seconds(), time.process_time(), time.perf_counter()
    seconds = side.seconds(batches)
    wall = time.perf_counter() - began
    others = max(0.0, busy_seconds() - busy - (time.process_time() - cpu)) / (wall * cores())
    return seconds, others


def without_repeats(data: TokenisedPairs, batch: int) -> Rows:
    """Rows for the comparison: a text that comes twice is one candidate for us and two for them."""
    rows: list[int] = []
    seen: set[int] = set()
    for row, texts in enumerate(zip(data.query.tolist(), data.document.tolist(), strict=True)):
        if not seen & set(texts) and len(rows) < min(batch, 64):
            rows.append(row)
            seen.update(texts)
    return np.asarray(rows)


def distance(ours: Ours, theirs: Theirs, rows: Rows) -> tuple[float, float]:
    (our_loss, our_grad), (their_loss, their_grad) = ours.gradient(rows), theirs.gradient(rows)
    loss = abs(our_loss - their_loss) / their_loss
    grad = float((our_grad - their_grad).norm() / their_grad.norm())
    if max(loss, grad) > MOST_DISTANCE:
        raise SystemExit(f"not the same update: the loss differs by {loss:.1e}, the gradient by {grad:.1e}")
    return loss, grad


def best_mini_batch(data: TokenisedPairs, batches: list[Rows]) -> int:
    """The fastest of theirs on a quarter of a batch: in smaller ones they pad less."""
    few = [rows[: len(rows) // 4] for rows in batches]
    seconds = {}
    for size in MINI_BATCHES:
        side = Theirs(data.pairs, size)
        side.gradient(few[0][:size])  # warm, like those that are compared
        seconds[size] = side.seconds(few)
    say(f"  their mini-batches: {', '.join(f'{size}: {taken:.1f} s' for size, taken in seconds.items())}")
    return min(seconds, key=lambda size: seconds[size])


def told(
    case: Case, tokens: int, seconds: dict[str, list[float]], distances: tuple[float, float], others: float
) -> dict[str, Any]:
    say(f"{case.key}: {case.updates} updates of {case.batch} pairs, {tokens:,} tokens; others used up to {others:.0%}")
    for name, times in seconds.items():
        rates = sorted(tokens / taken for taken in times)
        say(f"  {name:22} {median(rates):8,.0f} tokens/s ({rates[0]:,.0f} to {rates[-1]:,.0f})")
    ours, theirs = (median(times) for times in seconds.values())
    fair = others <= MOST_BY_OTHERS
    return {
        case.key: round(theirs / ours, 3) if fair else None,
        f"{case.key}_tokens_per_second": [round(tokens / ours), round(tokens / theirs)],
        f"{case.key}_loss_and_gradient_distance": [float(f"{d:.1e}") for d in distances],
    }


if __name__ == "__main__":
    main()
