"""Kafka's and Debezium's jars, fetched once through the Ivy that PySpark carries."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from deploy.stack.programs import MissingProgramError
from jude.environment import java_home

KAFKA: Final = "4.3.1"
DEBEZIUM: Final = "3.7.0.Final"
BROKER: Final = (f"org.apache.kafka:kafka_2.13:{KAFKA}",)
CONNECT: Final = (f"org.apache.kafka:connect-runtime:{KAFKA}", f"org.apache.kafka:connect-json:{KAFKA}")
PLUGIN: Final = (f"io.debezium:debezium-connector-postgres:{DEBEZIUM}",)
_FETCH_SECONDS: Final = 600
# Connect has these itself; two versions of one class in two class loaders do not mix.
_OF_CONNECT: Final = (
    "connect-api", "kafka-clients", "slf4j-api", "lz4-java", "snappy-java", "zstd-jni", "jakarta.ws.rs-api",
)  # fmt: skip


def fetch(modules: Sequence[str], folder: Path) -> Path:
    """Resolve modules with all that they need into `folder`/libs; does nothing where that was done before.

    Raises MissingProgramError where they cannot be had.
    """
    done, libs = folder / "complete", folder / "libs"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two stacks of one checkout may come up at once
        if not done.exists() or done.read_text() != "\n".join(modules):
            _fetch(modules, folder, libs)
            done.write_text("\n".join(modules))
    return libs


def _fetch(modules: Sequence[str], folder: Path, libs: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "ivy.xml").write_text(_ivy(modules))
    ivy = next(pyspark_jars().glob("ivy-*.jar"))
    command = [
        *(str(java_home() / "bin" / "java"), "-jar", str(ivy), "-m2compatible", "-cache", str(folder / "cache")),
        *("-ivy", str(folder / "ivy.xml"), "-confs", "default", "-types", "jar", "bundle"),
        *("-retrieve", f"{libs}/[artifact]-[revision](-[classifier]).[ext]"),
    ]
    if settings := os.environ.get("SPARK_IVY_SETTINGS"):
        command += ["-settings", settings]
    try:
        fetched = subprocess.run(command, capture_output=True, text=True, timeout=_FETCH_SECONDS, check=False)
        failed = fetched.stdout[-500:] if fetched.returncode else ""
    except subprocess.TimeoutExpired:
        failed = f"no answer within {_FETCH_SECONDS} s"
    if failed or not any(libs.glob("*.jar")):
        raise MissingProgramError(f"The jars {', '.join(modules)} could not be fetched: {failed}")
    shutil.rmtree(folder / "cache")


def without_those_of_connect(libs: Path) -> Path:
    """Take out of a plugin's folder what Connect brings itself."""
    for name in _OF_CONNECT:
        for jar in libs.glob(f"{name}-*.jar"):
            jar.unlink()
    return libs


def java(class_path: Path) -> list[str]:
    """Make the command of a small JVM."""
    # Kafka's own modules bring no slf4j binding: pyspark's goes first.
    binding = [
        str(jar)
        for name in ("slf4j-api", "log4j-slf4j2-impl", "log4j-api", "log4j-core")
        for jar in pyspark_jars().glob(f"{name}-*.jar")
    ]
    log = Path(__file__).parent / "log4j2.properties"
    small = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", f"-Dlog4j2.configurationFile={log}"]
    return [str(java_home() / "bin" / "java"), *small, "-cp", os.pathsep.join([*binding, f"{class_path}/*"])]


def pyspark_jars() -> Path:
    """Find the jars of the installed PySpark."""
    import pyspark

    return Path(pyspark.__file__).parent / "jars"


def _ivy(modules: Sequence[str]) -> str:
    lines = [
        f'<dependency org="{group}" name="{name}" rev="{version}" conf="default->runtime,default"/>'
        for group, name, version in (module.split(":") for module in modules)
    ]
    head = '<ivy-module version="2.0"><info organisation="jude" module="stack"/>'
    confs = '<configurations><conf name="default"/></configurations>'
    return f"{head}{confs}<dependencies>{''.join(lines)}</dependencies></ivy-module>"
