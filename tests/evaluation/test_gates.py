"""A gate lets through what is measured good, and shuts with the number that shut it."""

import numpy as np
import pytest

from jude.errors import TerminalTrainingError
from jude.evaluation.gates import require_gain, require_merge, require_serving
from jude.evaluation.intervals import paired

VECTORS = np.random.default_rng(0).normal(size=(256, 8)).astype(np.float32)
VECTORS /= np.linalg.norm(VECTORS, axis=1, keepdims=True)


def test_a_release_may_not_risk_a_hundredth() -> None:
    current = np.random.default_rng(1).random(500)
    assert require_gain(paired(current + 0.05, current)).mean == pytest.approx(0.05)
    assert require_gain(paired(current - 0.009, current)).low == pytest.approx(-0.009)
    with pytest.raises(TerminalTrainingError, match=r"lower bound must be at least -0\.01"):
        require_gain(paired(current - 0.011, current))
    noisy = current + np.random.default_rng(2).normal(0, 1, 500)
    with pytest.raises(TerminalTrainingError, match="Measure more queries"):
        require_gain(paired(noisy, current))


def test_a_merge_is_equal_but_for_rounding() -> None:
    assert require_merge(VECTORS, VECTORS + np.float32(1e-6)) < 1e-5
    with pytest.raises(TerminalTrainingError, match="differ by 1"):
        require_merge(VECTORS, VECTORS + np.float32(1e-4))
    with pytest.raises(TerminalTrainingError, match="differ by nan"):
        require_merge(VECTORS, VECTORS * np.float32("nan"))
    with pytest.raises(TerminalTrainingError, match="needs 256 texts"):
        require_merge(VECTORS[:10], VECTORS[:10])


def test_the_serving_dtype_is_close_enough_or_refused() -> None:
    assert require_serving(VECTORS, VECTORS.astype(np.float16).astype(np.float32), 0.5, 0.501) > 0.999
    bent = VECTORS.copy()
    bent[7] = np.roll(bent[7], 1)
    with pytest.raises(TerminalTrainingError, match="Serve this version in float32"):
        require_serving(VECTORS, bent, 0.5, 0.5)
    with pytest.raises(TerminalTrainingError, match=r"differs by 0\.0030"):
        require_serving(VECTORS, VECTORS, 0.5, 0.503)
