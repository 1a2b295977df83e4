"""How a command fails: one sentence on stderr, in red on a terminal, and exit code 1. Never a traceback."""

from __future__ import annotations

import errno
import re
from typing import Any, Final

import typer
from typer.core import TyperGroup

from jude.errors import JudeError

INTERRUPTED: Final = 130
"""What shells give to a process that Ctrl-C ended."""

_OURS: Final = re.compile(r"^.*\bjude\.errors\.\w+: (.+)$", re.MULTILINE)
_STATE_OF_QUERY: Final = "=== Streaming Query ==="  # what follows is no error, but has colons
_RAISED: Final = re.compile(r"^([A-Za-z_][\w.]*: .+)$", re.MULTILINE)


class JudeGroup(TyperGroup):
    """Turns every JudeError of a command into its sentence."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401  as the class above has it
        """Run the command; leave with 1 after a JudeError or what the system refuses, with 130 after Ctrl-C."""
        try:
            return super().invoke(ctx)
        except JudeError as error:
            tell(str(error))
            raise typer.Exit(1) from None
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader of a pipe has gone: typer ends quietly
                raise
            where = f"{error.filename}: " if error.filename else ""
            tell(f"{where}{error.strerror or error}. `jude doctor` says which folders can be written.")
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            tell("Stopped.")
            raise typer.Exit(INTERRUPTED) from None


def tell(sentence: str) -> None:
    """Write an error for people; a pipe gets no colour."""
    typer.secho(sentence, fg=typer.colors.RED, err=True)


def hush_spark() -> None:
    """Keep PySpark from writing an error with its whole stack to stderr before a command can say it in a sentence."""
    from pyspark.logger import PySparkLogger

    PySparkLogger.getLogger("SQLQueryContextLogger").disabled = True


def sentence_of(error: Exception) -> str:
    """Give what a failed Spark query has to say to a person.

    That is the JudeError inside it, else what its Python traceback ends with, else its first line.
    """
    said, _, _ = str(error).partition(_STATE_OF_QUERY)
    if ours := _OURS.findall(said):
        return str(ours[-1])
    _, traceback, frames = said.partition("Traceback (most recent call last)")
    if traceback and (raised := _RAISED.findall(frames)):
        return str(raised[-1])
    return next((line.strip() for line in said.splitlines() if line.strip()), type(error).__name__)
