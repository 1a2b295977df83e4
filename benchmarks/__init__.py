"""Measurements with one command each: `python -m benchmarks.savings`, `python -m benchmarks.pipeline`.

The modules here are the commands, the folders are their parts: `changes` and `measuring` of many, `job` of `pipeline`,
`encoding` of `encoder`, `servers` of `serving`, `lanes` and `grpc_share`, `on_gpu` of `gpu`, `tuning` of `training`.
Numbers are printed as they are measured; the last line of output is one JSON object.
"""

from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).parent.parent
