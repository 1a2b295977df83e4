"""Vectors, scores and labels of one global batch come in, one number a term goes out.

Each loss is a file of arithmetic that knows no model and no process group, so that hand-made numbers test it; the
composite weighs them. All raise float16 and bfloat16 to float32, and keep float64.
"""

from jude.training.losses.bce import bce
from jude.training.losses.composite import weigh
from jude.training.losses.distillation import distillation_kl
from jude.training.losses.info_nce import info_nce
from jude.training.losses.margin_mse import margin_mse
from jude.training.losses.vp import vp

__all__ = ["bce", "distillation_kl", "info_nce", "margin_mse", "vp", "weigh"]
