"""Relative paths in the configuration are relative to the project, not to the folder a command is started from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, ValidationInfo

_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")  # two letters at least: `C:` is a drive


def _local(path: Path, info: ValidationInfo) -> Path:
    """Make a path absolute; the context is the project's folder."""
    if not str(path).strip() or path == Path():
        raise ValueError("the path is empty")
    try:
        path = path.expanduser()
    except RuntimeError as error:  # ~ of a user that this machine does not know
        raise ValueError(str(error)) from None
    return Path(info.context) / path if info.context else path


def absolute_location(location: str, info: ValidationInfo) -> str:
    """Leave a URI (s3://..., dbfs:/...) as it is, make a path absolute."""
    return location if _URI.match(location) else str(_local(Path(location), info))


LocalPath = Annotated[Path, AfterValidator(_local)]
"""A file or folder of this machine."""

Location = Annotated[str, AfterValidator(absolute_location)]
"""A folder of this machine or a URI of an object store."""
