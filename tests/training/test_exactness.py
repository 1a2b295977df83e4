"""However a batch is cut, packed or repeated, values and gradients are those of the plain forward pass."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from jude.training import mining
from jude.training.data import BatchMaker
from jude.training.data.negatives import Known, false_negatives
from jude.training.heads import Temperature
from jude.training.plan.memory import Checkpointing
from jude.training.settings import LossSettings, ModelSettings
from jude.training.towers import Towers
from tests.training.tiny import EVERY_TERM, random_data, step_of, tiny_bert, tiny_towers, whole_batch

CLOSE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-7}
TERMS = ("bce", "nce", "vp")
ONE_TERM = {
    "bce": LossSettings(bce=1, nce=0),
    "nce": LossSettings(nce=1, symmetric=True),
    "vp": LossSettings(nce=0, vp_weight=1),
}


pytestmark = pytest.mark.usefixtures("one_thread")


def gradients(loss: LossSettings, chunk_tokens: int, kept_tokens: int = 0) -> tuple[dict[str, float], torch.Tensor]:
    """Value of each term and the gradient of all trained parameters, end to end."""
    data, towers = random_data(), tiny_towers()
    step, objective = step_of(towers, data, loss, chunk_tokens, kept_tokens)
    cached, terms, _ = step.encode(whole_batch(data))
    step._push(cached, torch.stack(list(terms.values())).sum())
    trained = [p for p in towers.parameters() if p.requires_grad] + objective.trained()
    return {n: t.item() for n, t in terms.items()}, torch.cat([p.grad.flatten() for p in trained if p.grad is not None])


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize(("chunk_tokens", "kept_tokens"), [(40, 0), (120, 0), (40, 130)])
def test_many_chunks_give_the_gradient_of_one(term: str, chunk_tokens: int, kept_tokens: int) -> None:
    whole, whole_grad = gradients(ONE_TERM[term], 100_000)
    parts, parts_grad = gradients(ONE_TERM[term], chunk_tokens, kept_tokens)
    assert whole_grad.norm() > 0
    assert parts == pytest.approx(whole, rel=1e-5)
    torch.testing.assert_close(parts_grad, whole_grad, rtol=1e-5, atol=1e-5 * float(whole_grad.abs().max()))


def test_one_chunk_is_the_plain_backward_pass() -> None:
    data, towers = random_data(), tiny_towers()
    step, objective = step_of(towers, data, EVERY_TERM, 100_000)
    batch = whole_batch(data)
    vectors = towers([data.token_ids(int(n)) for n in batch.inputs])
    torch.stack(list(objective(vectors, batch).values())).sum().backward()
    trained = [p for p in towers.parameters() if p.requires_grad] + objective.trained()
    plain = torch.cat([p.grad.flatten() for p in trained if p.grad is not None])
    torch.testing.assert_close(gradients(EVERY_TERM, 100_000)[1], plain, **CLOSE)
    assert step is not None


def test_a_batch_without_a_positive_leaves_a_learned_temperature_alone() -> None:
    data = random_data()
    step, objective = step_of(tiny_towers(), data, LossSettings(learn_temperature=True), 100_000)
    started = objective.temperature.log_value.item()
    update = step(BatchMaker(data).batch(np.flatnonzero(data.label < 0.5)), rate=0.1)
    assert (update.loss, update.skipped, objective.temperature.log_value.item()) == (0.0, False, started)


@pytest.mark.parametrize("log_value", [-5.0, 0.5])
def test_a_temperature_beyond_its_bound_can_come_back(log_value: float) -> None:
    temperature = Temperature(0.05, learned=True)
    with torch.no_grad():
        temperature.log_value.fill_(log_value)
    temperature().sum().backward()
    assert 0.0099 < temperature().item() <= 1
    assert temperature.log_value.grad is not None
    assert temperature.log_value.grad.item() > 0


def test_dropout_drops_the_same_in_both_passes() -> None:
    """A chunk's vectors of the second pass must be those whose gradient was taken: otherwise the update is noise."""
    data, towers = random_data(), tiny_towers(dropout=0.5)
    step, _ = step_of(towers, data, EVERY_TERM, 60)
    cached, _, _ = step.encode(whole_batch(data))
    again = torch.cat([part.detach() for _, part in sorted(cached._with_graph(), key=lambda item: item[0])])
    order = np.argsort(np.concatenate(cached._chunks), kind="stable")
    assert torch.equal(again[torch.from_numpy(order)], cached.vectors_UD.detach())


@pytest.mark.parametrize("checkpointing", ["selective", "full"])
def test_checkpointing_changes_memory_only(checkpointing: Checkpointing) -> None:
    data = random_data()
    ids = [data.token_ids(n) for n in range(6)]
    grads = []
    for kind in ("none", checkpointing):
        towers = tiny_towers(checkpointing=kind)
        towers(ids).square().sum().backward()
        grads.append(torch.cat([p.grad.flatten() for p in towers.parameters() if p.grad is not None]))
    torch.testing.assert_close(grads[0], grads[1], **CLOSE)


@pytest.mark.parametrize("roles", ["qkv", "all"])
def test_packed_with_merged_adapters_is_the_padded_model_with_peft_s_own(roles: Literal["qkv", "all"]) -> None:
    """Vectors and gradients; the same again with every text alone."""
    data = random_data()
    ids = [data.token_ids(n) for n in range(12)]

    def found(how: str) -> tuple[torch.Tensor, torch.Tensor]:
        towers = tiny_towers(roles=roles)
        if how == "padded":
            towers._packed = None
        vectors = torch.cat([towers([one]) for one in ids]) if how == "alone" else towers(ids)
        vectors.pow(3).sum().backward()
        grads = [p.grad.flatten() for p in towers.parameters() if p.grad is not None]
        assert len(grads) == 2 * 2 * {"qkv": 3, "all": 6}[roles]
        return vectors.detach(), torch.cat(grads)

    vectors, grad = found("packed")
    for how in ("padded", "alone"):
        other_vectors, other_grad = found(how)
        torch.testing.assert_close(vectors, other_vectors, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(grad, other_grad, rtol=1e-4, atol=1e-5 * float(grad.abs().max()))


def test_dropout_of_adapters_is_peft_s_own() -> None:
    """Merged adapters have no place for it: then the layers run as they are, and evaluation is as without dropout."""
    data = random_data()
    ids = [data.token_ids(n) for n in range(6)]
    towers = tiny_towers(dropout=0.5)
    assert not torch.equal(towers(ids), towers(ids))
    torch.testing.assert_close(towers.eval()(ids), tiny_towers()(ids), rtol=1e-5, atol=1e-5)


def test_every_adapter_moves_and_nothing_else() -> None:
    data, towers = random_data(), Towers(tiny_bert(), ModelSettings(), None)
    assert all(p.requires_grad for p in towers.parameters())
    towers = tiny_towers()
    before = {name: p.detach().clone() for name, p in towers.named_parameters()}
    step, _ = step_of(towers, data, EVERY_TERM, 100)
    update = step(whole_batch(data), rate=0.01, measure_terms=True)
    moved = {name for name, p in towers.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {name for name in before if "lora_" in name}
    assert set(update.term_norms) == set(TERMS)
    assert min(update.term_norms.values()) > 0


def test_an_update_that_is_not_finite_is_skipped_and_counted() -> None:
    data, towers = random_data(), tiny_towers()
    step, objective = step_of(towers, data, EVERY_TERM, 100)
    before = [p.detach().clone() for p in towers.parameters()]
    with torch.no_grad():
        for parameter in objective.head.parameters():
            parameter.fill_(float("nan"))
    assert step(whole_batch(data), rate=0.1).skipped
    assert all(torch.equal(a, b) for a, b in zip(before, towers.parameters(), strict=True))


def test_mining_among_many_documents_scores_a_few_queries_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    data, towers = random_data(), tiny_towers()
    whole = mining.mine(towers, data, 2, 0.05, 100)
    sizes = []

    def counted(known: Known, *numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        sizes.append(len(numbers[0]) * len(numbers[-1]))
        return false_negatives(known, *numbers)

    monkeypatch.setattr(mining, "_SCORES", 60)
    monkeypatch.setattr(mining, "false_negatives", counted)
    parts = mining.mine(towers, data, 2, 0.05, 100)
    assert max(sizes) <= 60
    assert np.array_equal(parts.documents, whole.documents)
