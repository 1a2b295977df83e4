"""1, 2 and 4 ranks, with and without ZeRO-1, make the same terms, gradients and weights (gloo, real processes)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.ranks import RANKS, updated
from tests.training.test_exactness import gradients
from tests.training.tiny import EVERY_TERM

pytestmark = pytest.mark.long
PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    out = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, "-m", "tests.training.ranks", str(out)]
    ran = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=280, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return [torch.load(out / f"{rank}.pt", weights_only=True) for rank in range(RANKS)]


def test_gathered_rows_are_in_order_of_ranks_and_carry_every_ranks_gradient(found: list[dict[str, Any]]) -> None:
    expected = torch.cat([torch.full((rank + 1, 2), float(rank)) for rank in range(RANKS)])
    for rank in range(RANKS):
        assert torch.equal(found[rank]["gathered"]["rows"], expected)
        assert torch.equal(found[rank]["gathered"]["grad"], torch.full((rank + 1, 2), 1.0 + 2 + 3 + 4))


@pytest.mark.parametrize("ranks", ["two", "four"])
def test_terms_and_gradients_are_those_of_one_rank(found: list[dict[str, Any]], ranks: str) -> None:
    terms, grad = gradients(EVERY_TERM, 100_000)
    for rank in range({"two": 2, "four": 4}[ranks]):
        held = found[rank][ranks]
        assert {name: held[name].item() for name in terms} == pytest.approx(terms, rel=1e-5)
        torch.testing.assert_close(held["grad"], grad, rtol=1e-5, atol=1e-5 * float(grad.abs().max()))


@pytest.mark.parametrize("engine", ["plain", "zero"])
def test_updated_weights_are_those_of_one_rank(found: list[dict[str, Any]], engine: str) -> None:
    alone = updated("plain", None, 100_000)
    weights = alone["weights"]
    assert isinstance(weights, torch.Tensor)
    for rank in range(RANKS):
        held = found[rank][engine]
        assert held["norms"] == pytest.approx(alone["norms"], rel=1e-5)
        # Adam divides by the root of the second moment: where that is tiny, rounding shows. 1% of one update's length.
        torch.testing.assert_close(held["weights"], weights, rtol=1e-5, atol=1e-4)
