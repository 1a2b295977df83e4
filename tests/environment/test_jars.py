"""The Spark jars: pinned, checked, linked."""

from __future__ import annotations

import hashlib
import ssl
import subprocess
from pathlib import Path

import pytest

from jude.environment import find_java
from jude.errors import TerminalEnvironmentError
from scripts import setup_spark
from scripts.setup_spark import Jar

GOOD = b"the jar that was pinned"


@pytest.fixture
def jar(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Jar:
    """One pinned jar, an empty .spark/jars, and an empty Spark."""
    monkeypatch.setattr(setup_spark, "KEPT", tmp_path / ".spark" / "jars")
    monkeypatch.setattr(setup_spark, "SPARK_HOME", tmp_path / "spark")
    (tmp_path / "spark" / "jars").mkdir(parents=True)
    return Jar(hashlib.sha256(GOOD).hexdigest(), "org.example", "delta", "4.4.0")


def ivy_that_brings(monkeypatch: pytest.MonkeyPatch, content: bytes | None) -> None:
    def run(work: Path) -> str:
        (work / "jars").mkdir()
        if content is not None:
            (work / "jars" / "delta-4.4.0.jar").write_bytes(content)
        return "module not found: org.example#delta;4.4.0\n"

    monkeypatch.setattr(setup_spark, "run_ivy", run)


def test_the_pinned_jar_is_kept_and_linked_in_place_of_an_older_one(monkeypatch: pytest.MonkeyPatch, jar: Jar) -> None:
    older = setup_spark.SPARK_HOME / "jars" / "delta-4.3.1.jar"
    older.touch()
    ivy_that_brings(monkeypatch, GOOD)
    setup_spark.fetch([jar])
    setup_spark.link([jar])
    assert setup_spark.is_kept(jar)
    assert (setup_spark.SPARK_HOME / "jars" / "delta-4.4.0.jar").read_bytes() == GOOD
    assert not older.exists()


def test_another_content_is_refused_and_not_kept(monkeypatch: pytest.MonkeyPatch, jar: Jar) -> None:
    ivy_that_brings(monkeypatch, b"something else")
    with pytest.raises(TerminalEnvironmentError, match=r"it is not used"):
        setup_spark.fetch([jar])
    assert list(setup_spark.KEPT.iterdir()) == []


def test_without_a_network_the_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch, jar: Jar) -> None:
    ivy_that_brings(monkeypatch, None)
    with pytest.raises(TerminalEnvironmentError, match=r"(?s)Is there a network\?.*SPARK_IVY_SETTINGS.*not found"):
        setup_spark.fetch([jar])


def test_a_damaged_jar_is_fetched_again(monkeypatch: pytest.MonkeyPatch, jar: Jar) -> None:
    setup_spark.KEPT.mkdir(parents=True)
    (setup_spark.KEPT / jar.file_name).write_bytes(GOOD[:5])
    assert not setup_spark.is_kept(jar)
    ivy_that_brings(monkeypatch, GOOD)
    setup_spark.fetch([jar])
    assert (setup_spark.KEPT / jar.file_name).read_bytes() == GOOD


def test_the_requirement_file_pins_delta_and_kafka() -> None:
    jars = setup_spark.pinned_jars(setup_spark.PINNED.read_text())
    assert {"delta-spark_4.2_2.13", "spark-sql-kafka-0-10_2.13"} <= {jar.artifact for jar in jars}
    assert {len(jar.sha256) for jar in jars} == {64}


def test_java_reads_the_key_store(tmp_path: Path) -> None:
    keytool = find_java().home / "bin" / "keytool"
    bundle = next((Path(p) for p in setup_spark.SYSTEM_CERTIFICATES if Path(p).exists()), None)
    if bundle is None or not keytool.exists():
        pytest.skip("no keytool, or no system certificates, on this machine")
    block = bundle.read_text().split(setup_spark.PEM_START)[1].split(setup_spark.PEM_END)[0]
    certificate = ssl.PEM_cert_to_DER_cert(setup_spark.PEM_START + block + setup_spark.PEM_END)
    store = tmp_path / "trusted.jks"
    store.write_bytes(setup_spark.java_key_store([certificate], "changeit"))
    command = [str(keytool), "-list", "-keystore", str(store), "-storepass", "changeit"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    fingerprint = hashlib.sha256(certificate).digest()
    assert ":".join(f"{byte:02X}" for byte in fingerprint) in listed.stdout


@pytest.mark.parametrize(("version", "kept"), [("17.0.9", True), ("21", True), ("11.0.2", False), ("1.8.0_402", False)])
def test_spark_submit_takes_the_machine_s_java_only_where_spark_runs_on_it(
    tmp_path: Path, version: str, kept: bool
) -> None:
    java = tmp_path / "jdk" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2024-04-16' >&2\n")
    java.chmod(0o755)
    settings = setup_spark.ENVIRONMENT.format(python="python", java="/ours")
    script = f'JAVA_HOME={java.parent.parent}\n{settings}\necho "$JAVA_HOME"'
    asked = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert asked.stdout.strip() == (str(java.parent.parent) if kept else "/ours")
