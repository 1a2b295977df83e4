"""Liger's fused kernels (arXiv:2410.10989) on the inner transformer. CUDA only: they are written in Triton."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from jude.errors import TerminalTrainingError


def apply_liger(inner: nn.Module, device: torch.device) -> int:
    """Patch this instance; give the number of its modules that run Liger's code from now on.

    The fused losses stay off: they belong to a language-model head, which the inner model has not. Liger's functions
    of rotary positions are patched process-wide by Liger: a reference model lives in another process.
    Raises TerminalTrainingError where nothing would be patched: no CUDA, no package, an unknown architecture.
    """
    if device.type != "cuda":
        raise TerminalTrainingError(
            "model.liger is true, and Liger's kernels run on CUDA only. Set model.liger: false."
        )
    try:
        from liger_kernel.transformers.monkey_patch import _apply_liger_kernel_to_instance
    except ImportError as missing:
        raise TerminalTrainingError(
            f"model.liger is true, and {missing.name} is not installed: pip install liger-kernel."
        ) from missing
    _apply_liger_kernel_to_instance(model=inner, fused_linear_cross_entropy=False, cross_entropy=False)
    patched = patched_modules(inner)
    if not patched:
        config: Any = inner.config
        raise TerminalTrainingError(f"Liger has no kernels for {config.model_type}. Set model.liger: false.")
    return patched


def patched_modules(inner: nn.Module) -> int:
    """Count the modules whose forward is Liger's."""
    forwards = (getattr(module.forward, "__func__", module.forward) for module in inner.modules())
    return sum(getattr(forward, "__module__", "").startswith("liger_kernel") for forward in forwards)
