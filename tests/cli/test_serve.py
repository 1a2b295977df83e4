"""`jude serve` and `jude embed`, as a person uses them."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jude.cli.app import app
from jude.cli.serve import _reload_when_told
from jude.encoder import EncoderSpec
from jude.settings import load_settings
from tests.serving.running import PROJECT, Running, running

TEST_CONF = str(PROJECT / "conf/test.yml")


def embed(up: Running, *more: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["embed", "Nurse", "--conf", TEST_CONF, "--server", up.address.target, *more])
    return result.exit_code, result.output


def test_a_text_is_embedded_by_a_running_server() -> None:
    with running() as up:
        shown, as_json = embed(up), embed(up, "--json")
        unknown = embed(up, "--entity", "spaceship")

        found = json.loads(as_json[1])
        assert shown[0] == as_json[0] == 0
        assert found["model_version"] in shown[1]
        assert "1 tokens" in shown[1]
        assert len(found["vector"]) == 32
        assert (unknown[0], "it knows job, member, resume" in " ".join(unknown[1].split())) == (1, True)


def test_without_a_server_the_way_out_is_told() -> None:
    arguments = ["embed", "Nurse", "--conf", TEST_CONF, "--server", "127.0.0.1:1"]
    arguments += ["--set", "encoder.timeout_seconds=0.5"]

    result = CliRunner().invoke(app, arguments)

    assert result.exit_code == 1
    assert "Start one: jude serve" in result.output


def test_a_reload_that_fails_is_not_the_last() -> None:
    """A disk or a GPU that is full raises what is not ours; the next SIGHUP must find somebody who listens."""
    answers: list[Exception | None] = [OSError("no space left"), RuntimeError("out of memory"), None]
    loaded: list[int] = []

    async def story() -> None:
        again = asyncio.Event()

        async def reload(specs: Mapping[str, EncoderSpec]) -> None:
            if failure := answers.pop(0):
                raise failure
            loaded.append(len(specs))

        listening = asyncio.create_task(_reload_when_told(reload, lambda: load_settings(Path(TEST_CONF)), again))
        for _ in range(3):
            again.set()
            while again.is_set() and not listening.done():
                await asyncio.sleep(0.01)
        listening.cancel()

    asyncio.run(story())
    assert loaded == [1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--model", "grpc"], "a model of its own"),
        (["--model", "no/such/folder"], "no/such/folder"),
        (["--set", "encoder.threads=4096"], "threads that fight for a core"),
        (["--set", "encoder.kind=all-minilm-l6-v2", "--set", "encoder.width=null", "--set", "encoder.device=cuda"],
         "no NVIDIA GPU"),
    ],
)  # fmt: skip
def test_a_server_that_cannot_start_says_why_in_a_sentence(arguments: list[str], says: str) -> None:
    ports = ["--port", "0", "--set", "serving.metrics_port=null"]

    result = CliRunner().invoke(app, ["serve", "--conf", TEST_CONF, *ports, *arguments])

    assert result.exit_code == 1
    assert says in " ".join(result.output.split())


SLOW = """
import sys, time
from pathlib import Path
import jude.serving.models as models
opened, known = models.open_model, []
def slow(spec):
    known.append(spec)
    print("loading", flush=True)
    if len(known) >= int(sys.argv[2]):
        time.sleep(60)
    return opened(spec)
models.open_model = slow
from jude.cli.app import app
app(["serve", "--conf", sys.argv[1], "--port", "0", "--set", "serving.metrics_port=null"])
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("slow", [1, 2], ids=["at the start", "at a reload"])
def test_a_stop_does_not_wait_for_a_model_that_loads(tmp_path: Path, number: signal.Signals, slow: int) -> None:
    """A supervisor kills what has not ended after some seconds; a large model loads for minutes."""
    conf = tmp_path / "conf.yml"
    says = f"extends: {TEST_CONF}\nentities: {{folder: {PROJECT / 'conf/entities'}}}\n"
    conf.write_text(says)
    command = [sys.executable, "-c", SLOW, str(conf), str(slow)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "loading\n"
        if slow == 2:
            while not process.stderr.readline().startswith("Serving"):
                assert process.poll() is None
            conf.write_text(says + "encoder: {revision: another}\n")
            process.send_signal(signal.SIGHUP)
            assert process.stdout.readline() == "loading\n"
        process.send_signal(number)
        _, said = process.communicate(timeout=15)
    finally:
        process.kill()

    assert process.returncode == 0
    assert "Traceback" not in said
