"""Products with gradients, for the forward passes of `jude.encoder`: frozen weights, and LoRA adapters on them.

On a CPU in float32 an adapter is merged before the product, W + s B A, in place of two more products beside it: one
pass over the tokens, and the same numbers. Its gradient is taken for A and B alone; W's is never computed.
"""

# T tokens of all texts together, D width, F width made, R rank, P adapted layers that read the same

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from jude.encoder.kernels import Dense, Product, activated


def product_of(*layers: nn.Module, activation: str = "none") -> Product:
    """Join linear layers that read the same into one product, the fastest that their adapters allow for."""
    bases = [_base(layer) for layer in layers]
    fixed = all(_is_fixed(base.weight) for base in bases)
    if fixed and not any(hasattr(layer, "lora_A") for layer in layers):
        return Frozen(bases, activation)
    if fixed and all(_plain_adapter(layer) for layer in layers):
        return Adapted(layers, bases, activation)
    return Stock(layers, activation)


def _is_fixed(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype == torch.float32 and not weight.requires_grad


def _base(layer: Any) -> nn.Linear:  # noqa: ANN401  peft ships no types
    base: nn.Linear = getattr(layer, "base_layer", layer)
    return base


def _plain_adapter(layer: Any) -> bool:  # noqa: ANN401 - peft's
    return hasattr(layer, "lora_A") and all(isinstance(drop, nn.Identity) for drop in layer.lora_dropout.values())


class _Calls:
    """What a product of training adds to its call."""

    def __init__(self, activation: str) -> None:
        self._activation = activation

    def __call__(self, x_TD: Tensor) -> Tensor:
        return activated(self._made(x_TD), self._activation)

    def plus(self, x_TD: Tensor, residual_TF: Tensor) -> Tensor:
        """`x W^T + b + residual`."""
        return self(x_TD) + residual_TF

    def times(self, x_TD: Tensor, gate_TF: Tensor) -> Tensor:
        """`(x W^T + b) * gate`."""
        return self(x_TD) * gate_TF

    def _made(self, x_TD: Tensor) -> Tensor:
        raise NotImplementedError


class Stock(_Calls):
    """The layers as they are: dropout of adapters, trained weights, bfloat16 under autocast."""

    def __init__(self, layers: Sequence[nn.Module], activation: str) -> None:
        super().__init__(activation)
        self._layers = layers

    def _made(self, x_TD: Tensor) -> Tensor:
        made = [layer(x_TD) for layer in self._layers]
        return made[0] if len(made) == 1 else torch.cat(made, dim=-1)


class Frozen(_Calls):
    """Weights that nothing trains, laid out once for both directions."""

    def __init__(self, layers: Sequence[nn.Linear], activation: str) -> None:
        super().__init__(activation)
        weight_FD, bias_F = _stacked(layers)
        self._there, self._back = Dense(weight_FD, bias_F), Dense(weight_FD.T.contiguous(), None)

    def plus(self, x_TD: Tensor, residual_TF: Tensor) -> Tensor:
        made_TF: Tensor = _Fixed.apply(x_TD, residual_TF, self._there, self._back)  # type: ignore[no-untyped-call]  # torch's
        return made_TF

    def _made(self, x_TD: Tensor) -> Tensor:
        made_TF: Tensor = _Fixed.apply(x_TD, None, self._there, self._back)  # type: ignore[no-untyped-call]  # torch's
        return made_TF


class Adapted(_Calls):
    """Frozen weights with a LoRA adapter each, without dropout."""

    def __init__(self, layers: Sequence[Any], bases: Sequence[nn.Linear], activation: str) -> None:
        super().__init__(activation)
        self._weight_FD, self._bias_F = _stacked(bases)
        self._scale = float(layers[0].scaling["default"])
        halves = [(layer.lora_A["default"].weight, layer.lora_B["default"].weight) for layer in layers]
        self._halves = [half for pair in halves for half in pair]

    def _made(self, x_TD: Tensor) -> Tensor:
        made_TF: Tensor = _Merged.apply(  # type: ignore[no-untyped-call]  # torch's
            x_TD, self._weight_FD, self._bias_F, self._scale, *self._halves
        )
        return made_TF


def _stacked(layers: Sequence[nn.Linear]) -> tuple[Tensor, Tensor | None]:
    biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
    return torch.cat([layer.weight.detach() for layer in layers]), torch.cat(biases) if biases else None


class _Fixed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_TD: Tensor, residual_TF: Tensor | None, there: Dense, back: Dense) -> Tensor:  # noqa: ANN401 - autograd's
        ctx.back = back
        return there(x_TD) if residual_TF is None else there.plus(x_TD, residual_TF)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:  # noqa: ANN401 - autograd's
        grad_TF = grads[0].contiguous()
        grad_TD = ctx.back(grad_TF) if ctx.needs_input_grad[0] else None
        return grad_TD, grad_TF if ctx.needs_input_grad[1] else None, None, None


class _Merged(torch.autograd.Function):
    """y = x (W + s B A)^T + b for P layers side by side; `halves` are A [R, D] and B [its F, R] of each in turn."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - autograd's
        x_TD: Tensor,
        weight_FD: Tensor,
        bias_F: Tensor | None,
        scale: float,
        *halves: Tensor,
    ) -> Tensor:
        ctx.scale, ctx.weight_FD = scale, weight_FD
        ctx.save_for_backward(x_TD, *halves)
        return Dense(_merged(weight_FD, scale, halves), bias_F)(x_TD)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401 - autograd's
        x_TD, *halves = ctx.saved_tensors
        grad_TF, parts = grads[0].contiguous(), len(halves) // 2
        grad_TD = None
        if ctx.needs_input_grad[0]:
            grad_TD = Dense(_merged(ctx.weight_FD, ctx.scale, halves).T.contiguous(), None)(grad_TF)
        low_TR = x_TD @ torch.cat(halves[::2]).T  # of all P layers at once: [T, P R]
        by_layer = torch.split(grad_TF, [len(up) for up in halves[1::2]], dim=1)
        grad_low_TR = torch.cat([grad @ up for grad, up in zip(by_layer, halves[1::2], strict=True)], dim=1)
        downs = (ctx.scale * (grad_low_TR.T @ x_TD)).chunk(parts)
        ups = [ctx.scale * (grad.T @ low) for grad, low in zip(by_layer, low_TR.chunk(parts, dim=1), strict=True)]
        return (grad_TD, None, None, None, *(half for pair in zip(downs, ups, strict=True) for half in pair))


def _merged(weight_FD: Tensor, scale: float, halves: Sequence[Tensor]) -> Tensor:
    """W + s B A of all layers: a thousandth of the product that it goes into, so that no pass keeps it."""
    parts = [up_FR @ down_RD for down_RD, up_FR in zip(halves[::2], halves[1::2], strict=True)]
    return weight_FD + scale * torch.cat(parts)
