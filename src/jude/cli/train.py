"""`jude train plan`: what a training run would take, before a GPU is rented."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from jude.cli.options import AsJson

if TYPE_CHECKING:
    from jude.training.plan import Duration, Gpu, Memory, Shape, Way
    from jude.training.plan.memory import Checkpointing

train = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Plan a training run (jobs/train.py does it).")

_GIB = 2**30
_CUDA = 1.0  # GiB of context
_GAPS = 0.05  # of the allocator


class Roles(StrEnum):
    """Which layers get adapters."""

    QKV = "qkv"
    ALL = "all"
    FULL = "full"


@train.callback()
def _train() -> None:
    """Keep `plan` a command of its own, however few there are."""


@train.command("plan")
def plan_command(
    model: Annotated[str, typer.Option("--model", help="135m, 1.5b, 3b, 7b, 14b, a packaged model, or a folder.")],
    gpus: Annotated[int, typer.Option("--gpus", min=1)] = 1,
    gpu: Annotated[str, typer.Option("--gpu", help="h200, h100, a100, a100-40, l40s or a10g.")] = "h100",
    pairs: Annotated[float, typer.Option("--pairs", min=1, help="Pairs trained on, every epoch counted.")] = 1e6,
    text_tokens: Annotated[int, typer.Option("--text-tokens", min=1, help="Tokens of an average text.")] = 256,
    batch: Annotated[int, typer.Option("--batch", min=2, help="Pairs of an update, over all GPUs.")] = 1024,
    chunk_tokens: Annotated[int, typer.Option("--chunk-tokens", min=1, help="batch.chunk_tokens.")] = 8192,
    kept_tokens: Annotated[int, typer.Option("--kept-tokens", min=0, help="batch.kept_tokens.")] = 0,
    roles: Annotated[Roles, typer.Option("--train", help="LoRA on qkv or all layers, or the full model.")] = Roles.QKV,
    rank: Annotated[int, typer.Option("--rank", min=1, help="Of LoRA.")] = 16,
    zero: Annotated[int, typer.Option("--zero", min=0, max=3, help="Stage; this trainer has 0 and 1.")] = 1,
    utilisation: Annotated[float | None, typer.Option(min=0.01, max=1, help="Measured share of the peak.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print memory per GPU with each way of checkpointing, tokens per second, hours and energy."""
    from jude.cli.show import print_json
    from jude.errors import TerminalSettingsError
    from jude.training.plan import GPUS, Way, shape_named

    if math.isinf(pairs):
        raise TerminalSettingsError(f"--pairs {pairs}: give a number of pairs, such as 1e6.")
    if gpu not in GPUS:
        raise TerminalSettingsError(f"There is no GPU {gpu!r} to plan for. Known: {', '.join(GPUS)}.")
    shape = shape_named(model)
    way = Way(
        gpus=gpus, rank=None if roles is Roles.FULL else rank, roles="qkv" if roles is Roles.QKV else "all",
        zero=zero, chunk_tokens=chunk_tokens, kept_tokens=kept_tokens, batch_pairs=batch, text_tokens=text_tokens,
    )  # fmt: skip
    plans = _plans(shape, way, GPUS[gpu], 2 * pairs * text_tokens, utilisation)
    if as_json:
        print_json({name: asdict(memory) | asdict(duration) for name, (memory, duration) in plans.items()})
    else:
        _show(shape, way, GPUS[gpu], plans, utilisation)


def _plans(
    shape: Shape, way: Way, gpu: Gpu, tokens: float, utilisation: float | None
) -> dict[str, tuple[Memory, Duration]]:
    from jude.training.plan import duration_of, memory_of
    from jude.training.plan.speed import ASSUMED_UTILISATION

    built: tuple[Checkpointing, ...] = ("none", "selective", "full") if shape.bert else ("none", "full")
    ways = [replace(way, checkpointing=name) for name in built]
    share = utilisation or ASSUMED_UTILISATION
    return {one.checkpointing: (memory_of(shape, one), duration_of(shape, one, gpu, tokens, share)) for one in ways}


def _show(
    shape: Shape, way: Way, gpu: Gpu, plans: dict[str, tuple[Memory, Duration]], utilisation: float | None
) -> None:
    from jude.cli.show import make_table, open_console

    trained = f"LoRA rank {way.rank} on {way.roles}" if way.rank else "all weights"
    console = open_console()
    console.print(
        f"{shape.name}: {shape.parameters / 1e9:.2f} B parameters, {trained} "
        f"({_trained(shape, way) / 1e6:,.1f} M trained), {way.gpus} x {gpu.name}, ZeRO-{way.zero}",
        style="bold", soft_wrap=True,
    )  # fmt: skip
    rows = [[label, *(value(*plan) for plan in plans.values())] for label, value in _ROWS.items()]
    rows.append(["fits", *("yes" if _needed(memory) <= gpu.memory / _GIB else "no" for memory, _ in plans.values())])
    console.print(make_table(["GiB per GPU, by checkpointing", *plans], rows, left=("GiB per GPU, by checkpointing",)))
    for sentence in _assumed(way, utilisation):
        console.print(sentence, soft_wrap=True)


def _gib(value: float) -> str:
    return f"{value / _GIB:,.2f}"


def _needed(memory: Memory) -> float:
    return memory.total / _GIB * (1 + _GAPS) + _CUDA


_ROWS: dict[str, Callable[[Memory, Duration], str]] = {
    "weights": lambda memory, _: _gib(memory.weights),
    "trained, in float32": lambda memory, _: _gib(memory.trained),
    "gradients": lambda memory, _: _gib(memory.gradients),
    "optimizer": lambda memory, _: _gib(memory.optimizer),
    "activations": lambda memory, _: _gib(memory.activations),
    "the layer at work": lambda memory, _: _gib(memory.working),
    "vectors and scores of the batch": lambda memory, _: _gib(memory.vectors),
    "together, with CUDA's own": lambda memory, _: f"{_needed(memory):,.1f}",
    "tokens per second, all GPUs": lambda _, duration: f"{duration.tokens_per_second:,.0f}",
    "hours": lambda _, duration: f"{duration.hours:,.2f}",
    "kWh": lambda _, duration: f"{duration.kilowatt_hours:,.1f}",
}


def _trained(shape: Shape, way: Way) -> int:
    return shape.parameters if way.rank is None else shape.adapters(way.rank, way.roles)


def _assumed(way: Way, utilisation: float | None) -> list[str]:
    from jude.training.plan.speed import ASSUMED_HOST_WATTS, ASSUMED_UTILISATION

    told = [
        f"Utilisation: {utilisation:.0%}, as given."
        if utilisation
        else f"ASSUMED: utilisation {ASSUMED_UTILISATION:.0%} of the data sheet's peak; --utilisation takes yours.",
        f"ASSUMED: the card draws its data sheet's power all the time, its host {ASSUMED_HOST_WATTS:.0f} W beside it; "
        f"{_CUDA:.0f} GiB of CUDA context and {_GAPS:.0%} of gaps.",
        "Activations are formulas, held to measured runs of small models on a CPU (benchmarks/train_plan.py).",
    ]
    if way.zero > 1:
        told.append("This trainer has ZeRO 0 and 1: the figures of a higher stage are arithmetic only.")
    return told
