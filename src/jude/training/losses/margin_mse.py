"""Margin-MSE: the student should keep the teacher's distance between the positive and each negative.

Source: Hofstätter et al., arXiv:2010.02666.
"""

# Q queries, K stored candidates of a query, the positive first

from __future__ import annotations

from torch import Tensor

from jude.training.losses.precision import raised


def margin_mse(student_QK: Tensor, teacher_QK: Tensor, present_QK: Tensor) -> Tensor:
    """Average ((s_0 - s_j) - (t_0 - t_j))^2 over the candidates j >= 1 that are present; 0 where there is none."""
    student_QK, teacher_QK = raised(student_QK), raised(teacher_QK).to(raised(student_QK).dtype)
    error_QN = (student_QK[:, :1] - student_QK[:, 1:]) - (teacher_QK[:, :1] - teacher_QK[:, 1:])
    counted_QN = present_QK[:, 1:] & present_QK[:, :1]
    return error_QN.masked_fill(~counted_QN, 0).pow(2).sum() / counted_QN.sum().clamp(min=1)
