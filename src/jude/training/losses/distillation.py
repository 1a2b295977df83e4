"""Knowledge distillation over stored candidate lists. Source: Hinton, Vinyals, Dean, arXiv:1503.02531, per list."""

# Q queries, K stored candidates of a query

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import log_softmax

from jude.training.losses.precision import raised


def distillation_kl(
    student_QK: Tensor,
    teacher_QK: Tensor,
    present_QK: Tensor,
    *,
    student_temperature: Tensor | float,
    teacher_temperature: float,
) -> Tensor:
    """Average KL(softmax(teacher / T_t) || softmax(student / T_s)) over the lists; absent candidates count nothing."""
    student_QK = raised(student_QK)
    teacher = log_softmax(_only(raised(teacher_QK).to(student_QK.dtype) / teacher_temperature, present_QK), dim=1)
    student = log_softmax(_only(student_QK / student_temperature, present_QK), dim=1)
    gap_QK = (teacher - student).masked_fill(~present_QK, 0)
    return (teacher.exp() * gap_QK).sum() / max(1, len(student_QK))


def _only(scores_QK: Tensor, present_QK: Tensor) -> Tensor:
    # A large finite number, not -inf: an absent candidate must not make a NaN gradient.
    return scores_QK.masked_fill(~present_QK, -1e9)
