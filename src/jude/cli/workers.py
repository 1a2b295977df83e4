"""Which Python Spark's workers run under, when a command starts Spark itself."""

from __future__ import annotations

import os
import sys


def use_this_python() -> None:
    """Let Spark's Python workers be this Python, where nobody chose another.

    Spark asks PATH for `python3`, which is another one wherever this environment is not activated, and knows no `jude`.
    """
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
