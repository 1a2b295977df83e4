"""The generated code is that of the schemas beside it."""

from __future__ import annotations

from pathlib import Path

from scripts.protobuf import SOURCE, generate


def test_the_generated_code_is_current(tmp_path: Path) -> None:
    for made in generate(tmp_path):
        checked_in = SOURCE / made.relative_to(tmp_path)
        assert checked_in.read_text() == made.read_text(), f"run `make protobuf`: {checked_in.name} is out of date"
