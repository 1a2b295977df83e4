"""`encoder.kind: grpc`: the server's model behind the pipeline's own protocol."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from jude.cli.serve import specs_of
from jude.encoder import EncoderSpec, manifest_of, open_encoder, open_tokeniser, pinned
from jude.encoder.remote import RemoteEncoder
from jude.encoder.spec import spec_of
from jude.errors import TerminalEncoderError, TerminalEnvironmentError, TerminalSettingsError, TransientEncoderError
from jude.serving.child import serving
from jude.serving.client import EmbeddingClient, ServerAddress, Wanted
from tests.serving.running import PROJECT, Running, running, settings_with, watched

CONF = PROJECT / "conf/test.yml"
TEXTS = [f"text number {n} about nursing" for n in range(300)]


def remote(up: Running, **differing: Any) -> EncoderSpec:
    return replace(specs_of(up.settings)["current"], kind="grpc", server=up.address, **differing)


def test_the_pipeline_gets_what_it_would_get_from_a_local_model(up: Running) -> None:
    local, there = specs_of(up.settings)["current"], remote(up)
    inputs = open_tokeniser(local).inputs("job", TEXTS)

    assert open_tokeniser(there).inputs("job", TEXTS) == inputs
    assert manifest_of(there) == manifest_of(local)
    assert open_encoder(there).model_version == open_encoder(local).model_version
    ids = [made.token_ids for made in inputs]
    np.testing.assert_array_equal(open_encoder(there).encode(ids), open_encoder(local).encode(ids))
    assert open_encoder(there).encode([]).shape == (0, 32)


def test_a_spec_travels_as_one_line_and_keeps_its_token_out_of_sight(up: Running) -> None:
    spec = replace(remote(up), server=replace(up.address, token="a-very-secret-token"))

    assert spec_of(spec.as_json()) == spec
    assert "secret" not in repr(spec)


def test_an_alias_is_pinned_to_the_version_it_means_at_the_start() -> None:
    with running() as up:
        spec = pinned(remote(up))
        encoder = RemoteEncoder(spec)
        assert spec.server_model == up.server.shelf.find("").model_version

        up.do(up.server.reload(specs_of(settings_with("encoder.revision=b"))))

        with pytest.raises(TerminalEncoderError, match="FAILED_PRECONDITION"):
            encoder.encode([[1, 2]])


def test_an_input_that_alone_is_bad_gives_nan_and_the_others_their_vectors() -> None:
    with running(opener=watched(nan_at=7)) as up:
        vectors = RemoteEncoder(remote(up)).encode([[1], [7], [2], [-5], []])

        assert np.isnan(vectors).all(axis=1).tolist() == [False, True, False, True, True]


def test_vectors_for_other_inputs_or_of_another_version_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with running() as up:
        encoder = RemoteEncoder(remote(up))
        honest = EmbeddingClient.embed_batch

        def mixed_up(self: EmbeddingClient, contents: list[Any], wanted: Wanted) -> object:
            return honest(self, contents[::-1], wanted)

        def another(self: EmbeddingClient, contents: list[Any], wanted: Wanted) -> object:
            return replace(honest(self, contents, wanted), model_version="other-1")

        for answer, says in ((mixed_up, "not the token ids"), (another, "other-1")):
            monkeypatch.setattr(EmbeddingClient, "embed_batch", answer)
            with pytest.raises(TerminalEncoderError, match=says):
                encoder.encode([[1], [2]])


def test_settings_that_contradict_the_server_are_told(up: Running) -> None:
    for differing, says in (
        ({"dtype": "bfloat16"}, "encoder.dtype"),
        ({"max_tokens": 17}, "encoder.max_tokens"),
        ({"prompts": {"job": "query: "}}, "the prompt of job"),
    ):
        with pytest.raises(TerminalSettingsError, match=says):
            manifest_of(remote(up, **differing))
    with pytest.raises(TerminalEncoderError, match="not served"):
        manifest_of(remote(up, server_model="ghost"))


def test_a_batch_ends_right_after_a_killed_server_is_back() -> None:
    spec = specs_of(settings_with())["current"]
    ids = [made.token_ids for made in open_tokeniser(spec).inputs("job", TEXTS)]
    expected = open_encoder(spec).encode(ids)
    with serving(CONF) as server:
        address, process = ServerAddress(server.target), server.process
        encoder = RemoteEncoder(replace(spec, kind="grpc", server=address, server_seconds=60.0))
        np.testing.assert_array_equal(encoder.encode(ids), expected)
        process.send_signal(signal.SIGKILL)
        process.wait()
        answers: list[np.ndarray] = []
        batch = threading.Thread(target=lambda: answers.append(encoder.encode(ids)))
        batch.start()
        batch.join(0.5)
        assert batch.is_alive()  # it waits for the server instead of failing the batch
        with serving(CONF, port=int(server.target.rpartition(":")[2])):
            batch.join(30)

    np.testing.assert_array_equal(answers[0], expected)


def test_a_server_that_stays_away_is_a_transient_error_and_sigterm_ends_with_0() -> None:
    spec = specs_of(settings_with())["current"]
    with serving(CONF) as server:
        address, process = ServerAddress(server.target), server.process
        encoder = RemoteEncoder(replace(spec, kind="grpc", server=address, server_seconds=1.0))
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0

        with pytest.raises(TransientEncoderError, match="did not answer"):
            encoder.encode([[1]])


def test_a_server_that_cannot_start_says_why_to_the_program_that_needs_it() -> None:
    with pytest.raises(TerminalEnvironmentError, match="cores"), serving(CONF, ["encoder.threads=4096"]):
        pass


PARENT = """
import sys, time
from pathlib import Path
from jude.serving.child import serving
with serving(Path(sys.argv[1])) as server:
    print(server.process.pid, server.target, flush=True)
    time.sleep(60)
"""


def test_a_server_ends_with_a_program_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, str(CONF)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        server, target = parent.stdout.readline().split()
        parent.kill()
    host, port = target.split(":")
    deadline = time.monotonic() + 20
    try:
        while time.monotonic() < deadline:
            socket.create_connection((host, int(port)), timeout=1).close()
            time.sleep(0.1)
    except OSError:
        return
    os.kill(int(server), signal.SIGKILL)
    pytest.fail("the server outlived the program that it was started for")
