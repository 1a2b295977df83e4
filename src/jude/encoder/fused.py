"""Attention, norms and rotary positions in one pass over memory each, by C that this machine's own compiler translates.

PyTorch has no fused kernels for them on CPUs: in bfloat16 they took a third of a forward pass. `fused.c` is compiled at
first use for the processor at hand (seconds, once per machine). Without a compiler PyTorch's operations do the same.
"""

# T tokens of all texts together, B texts, D width, H heads, E width of a head, L positions

from __future__ import annotations

import ctypes
import logging
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

_LOG = logging.getLogger(__name__)
_SOURCE: Final = Path(__file__).with_suffix(".c")
_COMMAND: Final = ("-O3", "-march=native", "-fPIC", "-shared", "-fno-math-errno", "-ffp-contract=fast", "-Wno-psabi")
_COMPILE_SECONDS: Final = 60
_LONGEST: Final = 2048  # tokens of a text: of longer ones keys and values leave the core's cache
_TYPES: Final = {torch.float32: 0, torch.bfloat16: 1}


class _Shape(ctypes.Structure):
    """The struct of that name in fused.c."""

    _fields_ = [
        *((name, ctypes.c_long) for name in ("heads", "key_heads", "width", "longest")),
        *((name, ctypes.c_void_p) for name in ("query_norm", "key_norm", "cosines", "sines")),
        ("eps", ctypes.c_float),
        ("causal", ctypes.c_int),
    ]


@dataclass(frozen=True, slots=True)
class Heads:
    """Attention of one layer: how queries, keys and values lie in a row, and what is done to them first."""

    heads: int
    key_heads: int
    norms: tuple[Tensor, Tensor, float] | None = None  # of queries and keys, float32 [E] each, and their eps

    def attend(
        self,
        q_BF: Tensor,
        kv_TF: Tensor,
        lengths: Sequence[int],
        only_B: Tensor | None,
        turns: tuple[Tensor, Tensor] | None,
        *,
        causal: bool,
    ) -> Tensor:
        """Mix the values of each text: [T, H * E], or [B, H * E] for the tokens `only_B`, one of each text.

        `turns`: cosines and sines of every place, float32 [L, E] each. Rows may be parts of longer ones.
        """
        width = kv_TF.shape[1] // (2 * self.key_heads)
        starts = torch.tensor([0, *lengths]).cumsum(0)
        q_norm, k_norm, eps = self.norms or (None, None, 0.0)
        cosines, sines = turns or (None, None)
        shape = _Shape(
            self.heads, self.key_heads, width, max(lengths), _at(q_norm), _at(k_norm), _at(cosines), _at(sines), eps,
            causal,
        )  # fmt: skip
        mixed = q_BF.new_empty(len(q_BF), self.heads * width)
        failed = _library().jude_attend(
            _at(q_BF), q_BF.stride(0), _at(kv_TF), kv_TF.stride(0), _at(mixed), _at(starts), len(lengths), _at(only_B),
            ctypes.byref(shape), _TYPES[q_BF.dtype],
        )  # fmt: skip
        if failed:
            raise MemoryError(f"no memory for the keys of a text of {max(lengths)} tokens")
        return mixed


def root_mean_square_norm(x_TD: Tensor, weight_D: Tensor, eps: float) -> Tensor:
    """Scale every row to mean square 1, then by the weights, which are float32."""
    x_TD = x_TD.contiguous()
    made_TD = torch.empty_like(x_TD)
    rows, width = x_TD.shape
    _library().jude_norm(_at(x_TD), _at(made_TD), _at(weight_D), rows, width, eps, _TYPES[x_TD.dtype])
    return made_TD


def fuses(x_TD: Tensor, lengths: Sequence[int] = ()) -> bool:
    """Whether a pass over these rows can take the functions above: on a CPU, without gradients."""
    return (
        x_TD.device.type == "cpu"
        and x_TD.dtype in _TYPES
        and x_TD.shape[-1] % 16 == 0
        and max(lengths, default=0) <= _LONGEST
        and torch.is_inference_mode_enabled()
        and _library_or_none() is not None
    )


def _at(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _library() -> ctypes.CDLL:
    found = _library_or_none()
    assert found is not None, "`fuses` said so"
    return found


@lru_cache(maxsize=1)
def _library_or_none() -> ctypes.CDLL | None:
    """Load what was compiled for this source, compiler flags and processor; compile it where nothing was."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    try:
        made = _folder() / f"fused-{_name()}.so"
        if not made.is_file():
            if compiler is None:
                _LOG.info("no C compiler here: attention and norms go by PyTorch's own operations")
                return None
            _compile(compiler, made)
        library = ctypes.CDLL(str(made))
    except (OSError, subprocess.SubprocessError) as error:
        _LOG.warning("attention and norms go by PyTorch's own operations: %s", type(error).__name__)
        return None
    pointer, number = ctypes.c_void_p, ctypes.c_long
    library.jude_attend.argtypes = [pointer, number, pointer, number, pointer, pointer, number, pointer,
                                    ctypes.POINTER(_Shape), ctypes.c_int]  # fmt: skip
    library.jude_norm.argtypes = [pointer, pointer, pointer, number, number, ctypes.c_float, ctypes.c_int]
    return library


def _name() -> str:
    """What is compiled for one processor may be an illegal instruction on another."""
    try:
        processor = re.search(r"^(?:flags|Features)\s*:.*$", Path("/proc/cpuinfo").read_text("ascii", "replace"), re.M)
    except OSError:
        processor = None
    made_of = f"{platform.machine()} {processor and processor[0]} {_COMMAND}".encode() + _SOURCE.read_bytes()
    return sha256(made_of).hexdigest()[:16]


def _folder() -> Path:
    """A folder of this user alone: what lies in it is executed. Raises OSError when it is someone else's."""
    folder = Path(tempfile.gettempdir()) / f"jude-kernels-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.stat(follow_symlinks=False)
    if found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(f"{folder} is open to others")
    return folder


def _compile(compiler: str, target: Path) -> None:
    partial = target.with_suffix(f".{os.getpid()}.partial")
    command = [compiler, *_COMMAND, "-o", str(partial), str(_SOURCE), "-lm"]
    try:
        subprocess.run(command, check=True, timeout=_COMPILE_SECONDS, capture_output=True)  # noqa: S603 - our own program
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
