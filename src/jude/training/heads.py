"""From two vectors to the logit of a match. Scale, bias and temperature are learned in float32, without decay."""

# B pairs, D width

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, gelu, normalize

HEADS: Final = "heads.pt"
"""Beside the adapter: head and temperature of a run's last phase, which a teacher scores with."""


def log_odds(base_rate: float) -> float:
    """Give the logit of a share, kept off 0 and 1."""
    p = min(max(base_rate, 1e-4), 1 - 1e-4)
    return math.log(p / (1 - p))


class ScaledCosine(nn.Module):
    """logit = cosine * scale + bias; the bias starts at the log-odds of the base rate.

    Parameters have one element and one dimension: DeepSpeed cannot broadcast those of none.
    """

    def __init__(self, base_rate: float, scale: float = 5.0) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor([math.log(scale)]))
        self.bias = nn.Parameter(torch.tensor([log_odds(base_rate)]))

    def forward(self, queries_BD: Tensor, documents_BD: Tensor) -> Tensor:
        """Give logits [B]."""
        cosine_B: Tensor = cosine_similarity(queries_BD, documents_BD, dim=1)
        return cosine_B * self.log_scale.exp() + self.bias


class HadamardMLP(nn.Module):
    """A light MLP on the product of the two unit vectors: a score for ranking pairs, not for retrieval."""

    def __init__(self, width: int, base_rate: float, hidden: int = 64) -> None:
        super().__init__()
        self.wide = nn.Linear(width, hidden)
        self.narrow = nn.Linear(hidden, 1)
        nn.init.constant_(self.narrow.bias, log_odds(base_rate))

    def forward(self, queries_BD: Tensor, documents_BD: Tensor) -> Tensor:
        """Give logits [B]."""
        # A coordinate of the product is about 1/width: without the factor the layer would see zeros.
        product_BD = normalize(queries_BD, dim=1) * normalize(documents_BD, dim=1) * queries_BD.shape[1]
        logits_B: Tensor = self.narrow(gelu(self.wide(product_BD)))[:, 0]
        return logits_B


class JointMLP(nn.Module):
    """The head of a cross-encoder: the two sides are one vector, made from both texts."""

    def __init__(self, width: int, base_rate: float) -> None:
        super().__init__()
        self.wide = nn.Linear(width, width)
        self.narrow = nn.Linear(width, 1)
        nn.init.constant_(self.narrow.bias, log_odds(base_rate))

    def forward(self, joint_BD: Tensor, same_BD: Tensor) -> Tensor:
        """Give logits [B]."""
        del same_BD
        logits_B: Tensor = self.narrow(torch.tanh(self.wide(joint_BD)))[:, 0]
        return logits_B


def head_of(kind: str, width: int, base_rate: float) -> nn.Module:
    """Make the head that settings name (`loss.head`)."""
    if kind == "cosine":
        return ScaledCosine(base_rate)
    return HadamardMLP(width, base_rate) if kind == "hadamard_mlp" else JointMLP(width, base_rate)


class Temperature(nn.Module):
    """InfoNCE's own temperature, kept in [0.01, 1]; from beyond a bound its gradient brings it back."""

    def __init__(self, start: float, *, learned: bool) -> None:
        super().__init__()
        self.log_value = nn.Parameter(torch.tensor([math.log(start)]), requires_grad=learned)

    def forward(self) -> Tensor:
        """Give the temperature."""
        kept = self.log_value.clamp(math.log(0.01), 0.0)
        return (self.log_value + (kept - self.log_value).detach()).exp()
