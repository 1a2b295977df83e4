"""The command line `jude`: one module per command, each with a function that fetches facts and one that shows them.

Nothing heavy is imported before a command runs: `jude --help` needs typer alone. What goes wrong on purpose
(a `JudeError`) becomes one line on stderr and exit code 1.
"""

from jude.cli.app import app, main

__all__ = ["app", "main"]
