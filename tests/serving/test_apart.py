"""The model in a process of its own."""

from __future__ import annotations

import gc
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from types import SimpleNamespace

import numpy as np
import pytest

from jude.encoder import EncoderSpec, open_encoder
from jude.errors import TerminalEnvironmentError
from jude.serving.apart import ModelApart

SPEC = EncoderSpec("hashing", width=8)
ALONE = """
from jude.encoder import EncoderSpec
from jude.serving.apart import ModelApart
model = ModelApart(EncoderSpec("hashing", width=8), 1)
model._process.kill()
model._process.wait()
print("asking", flush=True)
model.encode([[1]])
print("still here", flush=True)
"""


def test_it_gives_the_vectors_of_the_model_and_ends_with_its_last_user() -> None:
    model, own = ModelApart(SPEC, 2), open_encoder(SPEC)
    process = model._process

    assert (model.model_version, model.width, model.side_by_side) == (own.model_version, 8, 1)
    lists = [[[n, 1], [2]] for n in range(20)]
    with ThreadPoolExecutor(4) as threads:
        for ids, rows in zip(lists, threads.map(model.encode, lists), strict=True):
            np.testing.assert_array_equal(rows, own.encode(ids))
    del model
    gc.collect()
    assert process.wait(10) == 0


def test_nobody_waits_for_a_model_that_goes() -> None:
    """It goes where its last user lets it go: on the thread that answers all calls."""
    model = ModelApart(SPEC, 1)
    process, waiting = model._process, SimpleQueue[threading.Thread]()
    ended = SimpleNamespace(wait=lambda *_: waiting.put(threading.current_thread()))
    model._process = ended  # type: ignore[assignment]  # all that a model does with it when it goes
    del model
    gc.collect()

    assert waiting.get(timeout=10) is not threading.current_thread()
    assert process.wait(10) == 0


def test_errors_of_a_pass_and_of_the_start_come_through() -> None:
    with pytest.raises(RuntimeError, match="AttributeError"):
        ModelApart(SPEC, 1).encode_on_one_core([[1]])  # which the hashing model has not
    with pytest.raises(TerminalEnvironmentError, match="missing"):
        ModelApart(EncoderSpec("folder", path="/no/such/model"), 1)


def test_a_process_that_ends_while_it_loads_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(TerminalEnvironmentError, match=r"ended while it loaded the model \(exit code 1\)"):
        ModelApart(SPEC, 1)


def test_a_model_that_is_killed_takes_the_server_with_it_so_that_callers_wait_for_its_restart() -> None:
    ended = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, timeout=30, check=False)

    assert ended.returncode == 1
    assert ended.stdout == "asking\n"
    assert "model process ended" in ended.stderr
