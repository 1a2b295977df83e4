"""Generate the Python code of every src/jude/**/*.proto beside it: `make protobuf`.

The generated files are checked in, so that using JUDE needs no compiler; a test says when they are out of date.
"""

from __future__ import annotations

import sys
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src"


def generate(target: Path) -> list[Path]:
    """Write the code of every schema under `target`, in the folders of the schemas; give what was written."""
    from grpc_tools import protoc

    schemas = sorted(str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.proto"))
    for schema in schemas:
        (target / schema).parent.mkdir(parents=True, exist_ok=True)
    well_known = Path(protoc.__file__).parent / "_proto"
    outputs = [f"--python_out={target}", f"--pyi_out={target}"]
    status = protoc.main(["protoc", f"-I{SOURCE}", f"-I{well_known}", *outputs, *schemas])
    if status:
        raise SystemExit(status)
    return [target / schema.replace(".proto", f"_pb2.{ending}") for schema in schemas for ending in ("py", "pyi")]


if __name__ == "__main__":
    for path in generate(SOURCE):
        sys.stdout.write(f"{path}\n")
