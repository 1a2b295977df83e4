"""The figures of the encoder benchmark, made of its runs."""

from __future__ import annotations

from statistics import median
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.encoding.running import Measured
from benchmarks.measuring.processes import MOST_BY_OTHERS

PEER: Final = "sentence-transformers"
Key = tuple[str, str]
"""A side and the dtype it computes in."""


def cosine_min(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return round(float((a * b).sum(1).min()), 7)


def rate(one: Measured) -> int:
    return round(median(one.tokens_per_second))


def spread(one: Measured) -> str:
    low, high = min(one.tokens_per_second), max(one.tokens_per_second)
    return (f"{one.setting}: {rate(one):,} tokens/s ({low:,.0f} to {high:,.0f}), "
            f"{median(one.tokens_per_cpu_second):,.0f} per CPU second, others {max(one.by_others):.0%}")  # fmt: skip


def over(one: Measured, other: Measured) -> float | None:
    """The ratio of two rates; None where others used the machine meanwhile."""
    fair = max(*one.by_others, *other.by_others) <= MOST_BY_OTHERS
    return round(median(one.tokens_per_second) / median(other.tokens_per_second), 3) if fair else None


def ratios(found: dict[Key, Measured]) -> dict[str, Any]:
    pairs = {
        "speedup_fp32": (found["ours", "float32"], found[PEER, "float32"]),
        "speedup_bf16": (found["ours", "bfloat16"], found[PEER, "bfloat16"]),
        "speedup_fast_over_fp32": (found["ours", "bfloat16"], found[PEER, "float32"]),
    }
    return {
        **{name: over(*pair) for name, pair in pairs.items()},
        **{f"tokens_per_second_{side.split('-')[0]}_{dtype}": rate(one) for (side, dtype), one in found.items()},
        **{f"cpu_{name}": round(median(a.tokens_per_cpu_second) / median(b.tokens_per_cpu_second), 3)
           for name, (a, b) in pairs.items()},
        "by_others": round(max(share for one in found.values() for share in one.by_others), 3),
    }  # fmt: skip


def prefixed(label: str, found: dict[str, Any]) -> dict[str, Any]:
    return {f"{label}_{key}": value for key, value in found.items()}
