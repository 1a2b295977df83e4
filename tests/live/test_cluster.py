"""The same job on a Spark standalone cluster, one master and two workers, one of them killed in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.stack.ports import free_ports
from jude.environment import java_home, spark_home
from jude.tables.spec import TABLES
from tests.stream.test_kill import committed, comparable

pytestmark = [pytest.mark.live, pytest.mark.spark, pytest.mark.timeout(600)]
PROJECT = Path(__file__).parents[2]
SAMPLE = PROJECT / "data" / "sample"


@dataclass
class Cluster:
    master: str
    workers: list[subprocess.Popen[bytes]]


@contextmanager
def cluster(folder: Path, workers: int = 2) -> Iterator[Cluster]:
    """Start master and workers on loopback, one core and 1 GB each."""
    port, *ui = free_ports(2 + workers)
    master_url = f"spark://127.0.0.1:{port}"
    package = "org.apache.spark.deploy"
    started = [spark_class(folder, f"{package}.master.Master", "--host", "127.0.0.1", "--port", str(port),
                           "--webui-port", str(ui[0]))]  # fmt: skip
    try:
        for number in range(workers):
            options = ("--host", "127.0.0.1", "--cores", "1", "--memory", "1g", "--webui-port", str(ui[number + 1]))
            started.append(spark_class(folder, f"{package}.worker.Worker", *options, "-d", str(folder), master_url))
        yield Cluster(master_url, started[1:])
    finally:
        for process in started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def spark_class(folder: Path, name: str, *arguments: str) -> subprocess.Popen[bytes]:
    home = spark_home()
    assert home is not None
    ours = {"SPARK_HOME": home, "JAVA_HOME": java_home(), "PYSPARK_PYTHON": sys.executable}
    environment = {**os.environ, "SPARK_LOCAL_IP": "127.0.0.1", **{name: str(value) for name, value in ours.items()}}
    command = [str(home / "bin" / "spark-class"), name, *arguments]
    with (folder / f"{name.rsplit('.', 1)[1]}.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)


def run(folder: Path, *overrides: str) -> subprocess.Popen[bytes]:
    own = {
        "stream.checkpoint": folder / "checkpoint", "tables.root": folder / "tables",
        "online.path": folder / "online.sqlite", "source.path": SAMPLE, "source.max_offsets_per_trigger": 1000,
        "stream.planner": "executors", "encoder.where": "executors", "log.level": "WARNING",
    }  # fmt: skip
    sets = [part for name, value in own.items() for part in ("--set", f"{name}={value}")]
    sets += [part for override in overrides for part in ("--set", override)]
    command = [sys.executable, "jobs/embed_stream.py", "--conf", "conf/test.yml", "--available-now", *sets]
    with (folder / "stream.log").open("ab") as log:
        return subprocess.Popen(command, cwd=PROJECT, stdout=log, stderr=log, start_new_session=True)


def finish(process: subprocess.Popen[bytes], folder: Path) -> None:
    assert process.wait(400) == 0, (folder / "stream.log").read_text(errors="replace")[-3000:]


def on_cluster(master: str) -> Sequence[str]:
    extra = "spark.executor.memory=512m", "spark.driver.host=127.0.0.1", "spark.driver.bindAddress=127.0.0.1"
    return [f"spark.master={master}", *(f"spark.extra={{{', '.join(e.replace('=', ': ', 1) for e in extra)}}}",)]


def test_a_worker_killed_in_the_middle_leaves_the_tables_of_a_local_run(tmp_path: Path) -> None:
    distributed, local = tmp_path / "distributed", tmp_path / "local"
    distributed.mkdir()
    local.mkdir()
    with cluster(tmp_path) as spark:
        process = run(distributed, *on_cluster(spark.master))
        end = time.monotonic() + 200
        while committed(distributed) < 2 and process.poll() is None and time.monotonic() < end:
            time.sleep(0.2)
        assert process.poll() is None, (distributed / "stream.log").read_text(errors="replace")[-3000:]
        os.killpg(spark.workers[0].pid, signal.SIGKILL)
        finish(process, distributed)
    finish(run(local), local)
    for name in TABLES:
        assert comparable(distributed, name) == comparable(local, name), name
