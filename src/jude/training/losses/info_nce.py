"""InfoNCE: the query's own document among all candidates of the global batch.

Source: van den Oord, Li, Vinyals, arXiv:1807.03748; with in-batch candidates, symmetric as in CLIP (arXiv:2103.00020).
"""

# Q queries, C candidates, D width

from __future__ import annotations

from torch import Tensor, arange
from torch.nn.functional import cross_entropy, normalize

from jude.training.losses.precision import raised


def info_nce(
    queries_QD: Tensor,
    candidates_CD: Tensor,
    positive_Q: Tensor,
    temperature: Tensor | float,
    masked_QC: Tensor | None = None,
    *,
    symmetric: bool = False,
) -> Tensor:
    """Average -log softmax(cosine / temperature) at each query's positive candidate.

    masked_QC: true where a candidate is no negative of the query; the positive itself is never masked.
    symmetric: the mean with the other direction, each positive document among all queries.
    A query whose negatives are all masked adds 0: it has nothing to tell apart.
    """
    logits_QC = normalize(raised(queries_QD), dim=1) @ normalize(raised(candidates_CD), dim=1).T / temperature
    forward = _own_among_others(logits_QC, positive_Q, masked_QC)
    if not symmetric:
        return forward
    own_Q = arange(len(positive_Q), device=positive_Q.device)
    # Two queries of one document: the mask of its column keeps each out of the other's way.
    back_QQ, masked_QQ = logits_QC[:, positive_Q].T, None if masked_QC is None else masked_QC[:, positive_Q].T
    return (forward + _own_among_others(back_QQ, own_Q, masked_QQ)) / 2


def _own_among_others(logits_QC: Tensor, own_Q: Tensor, masked_QC: Tensor | None) -> Tensor:
    if masked_QC is not None:
        own_QC = arange(logits_QC.shape[1], device=own_Q.device) == own_Q[:, None]
        logits_QC = logits_QC.masked_fill(masked_QC & ~own_QC, -float("inf"))
    return cross_entropy(logits_QC, own_Q)
