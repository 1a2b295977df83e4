"""1, 2 and 4 ranks, with and without ZeRO-1, make the same terms, gradients and weights (gloo, real processes)."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from jude.errors import TerminalTrainingError
from jude.training.trainer import Trainer
from tests.training.killed import UPDATES, settings_in
from tests.training.ranks import RANKS, updated
from tests.training.test_exactness import gradients
from tests.training.tiny import EVERY_TERM

pytestmark = pytest.mark.long
PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, "-m", "tests.training.ranks", str(out)]
    ran = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=280, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return out


@pytest.fixture(scope="module")
def found(out: Path) -> list[dict[str, Any]]:
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
        assert held["term_norms"] == pytest.approx(alone["term_norms"], rel=1e-5)
        # Adam divides by the root of the second moment: where that is tiny, rounding shows. 1% of one update's length.
        torch.testing.assert_close(held["weights"], weights, rtol=1e-5, atol=1e-4)


def test_a_rank_killed_ends_the_run_within_a_minute_and_it_resumes_as_if_nothing_had_been(out: Path) -> None:
    facts = json.loads((out / "killed.json").read_text())
    assert facts["killed"] == -signal.SIGKILL
    assert facts["survivor"] == 1
    assert facts["newest"] == "step-00000004"
    assert facts["seconds"] < 60
    whole, parts = (load_file(out / name / "adapter" / "adapter_model.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    logs = [(out / name / "log.jsonl").read_text().splitlines() for name in ("whole", "parts")]
    losses = [[json.loads(line)["loss"] for line in log if '"loss"' in line] for log in logs]
    assert losses[0] == losses[1]
    assert len(losses[0]) == UPDATES


def test_an_engine_whose_phase_has_ended_leaves_no_hooks_on_the_parameters(out: Path) -> None:
    for rank in range(2):
        hooks = torch.load(out / "whole" / f"hooks-{rank}.pt")
        assert hooks
        assert not any(hooks)


def test_ranks_begin_a_phase_with_the_same_head(out: Path) -> None:
    first, second = (torch.load(out / f"heads-{rank}.pt") for rank in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_of_two_ranks_is_not_resumed_by_one(out: Path) -> None:
    with pytest.raises(TerminalTrainingError, match=r"'zero', it is 'plain'\n  ranks: it was 2, it is 1"):
        Trainer(settings_in(out), out / "whole").run()
