"""How much memory a rank has needed so far."""

from __future__ import annotations

import resource
import sys
from typing import Final

import torch

_MIB: Final = 2**20
_UNIT: Final = {"darwin": 1}.get(sys.platform, 1024)  # of ru_maxrss: bytes there, KiB on Linux


def peak_mib() -> int:
    """Give the largest use so far: of this process's GPU where there is one, else its resident memory."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated()) // _MIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT // _MIB
