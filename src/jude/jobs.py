"""What every job of jobs/ does around its work: an error that a person can act on is one line, and exit code 1."""

from __future__ import annotations

import sys
from collections.abc import Callable

from jude.errors import JudeError


def exit_code(work: Callable[[], str | None]) -> int:
    """Do the work and print what it gives; 0, or 1 after an error that JUDE raises on purpose."""
    try:
        told = work()
    except JudeError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    except OSError as error:  # what the system refuses: a folder, a full disk
        sys.stderr.write(f"{error.filename or 'The system'}: {error.strerror or error}\n")
        return 1
    if told is not None:
        sys.stdout.write(f"{told}\n")
    return 0
