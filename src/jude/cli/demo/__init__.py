"""`jude demo`: recorded changes in bulk, then a few of them live, then what became of it all.

In come a settings file and a folder of recorded changes; out go tables, an online store and a summary, all in one
folder that `jude status`, `search`, `explain` and `sql` can then look at.
"""

from jude.cli.demo.run import run_demo

__all__ = ["run_demo"]
