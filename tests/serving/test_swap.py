"""Two versions side by side, and a swap under load."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

from jude.cli.serve import specs_of
from jude.encoder import EncoderSpec
from jude.encoder.opening import models_loaded
from jude.encoder.version import InputHasher
from jude.errors import TerminalSettingsError
from jude.serving.client import AsyncEmbeddingClient, Wanted
from jude.serving.lanes import Lane
from jude.serving.models import LoadedModel, open_model
from tests.serving.running import Running, running, settings_with, until

REQUESTS, CALLERS, SWAPS = 10_000, 16, 8


def test_ten_thousand_requests_during_swaps_none_lost_and_none_mixed() -> None:
    with running("serving.online_queue_seconds=60.0") as up:
        seen: list[str] = []
        swapping = threading.Thread(target=swap_along, args=(up, seen))
        swapping.start()
        asyncio.run(ask_at_once(up, seen))
        swapping.join()

    assert len(seen) == REQUESTS
    assert len(set(seen)) > SWAPS // 2  # versions; one that was swapped out at once may have answered nothing


def swap_along(up: Running, seen: list[str]) -> None:
    """Swap each time that a tenth of the requests has been answered."""
    for number in range(1, SWAPS + 1):
        until(partial(answered, seen, number * REQUESTS // 10))
        up.do(up.server.reload(specs_of(settings_with(f"encoder.revision=r{number}"))))


def answered(seen: list[str], requests: int) -> bool:
    return len(seen) >= requests


async def ask_at_once(up: Running, seen: list[str]) -> None:
    async with AsyncEmbeddingClient(up.address, timeout_seconds=60) as client:
        await asyncio.gather(*(ask_many(client, caller, seen) for caller in range(CALLERS)))


async def ask_many(client: AsyncEmbeddingClient, caller: int, seen: list[str]) -> None:
    """Ask for lists; every answer's hashes must be those of the one version that it names."""
    for number in range(REQUESTS // CALLERS):
        ids = [[caller + 1, number + 1], [number + 1]]
        found = await client.embed_batch(ids, Wanted(lane=Lane.ONLINE))
        hasher = InputHasher(found.model_version, "")
        assert found.input_hashes == [hasher.hash(row) for row in ids]
        assert np.isfinite(found.vectors).all()
        seen.append(found.model_version)


def test_two_versions_are_served_side_by_side() -> None:
    with running("serving.also={next: {width: 64}}") as up:
        now, soon = (up.client().embed("Nurse", Wanted(entity_type="job", model=name)) for name in ("", "next"))

        assert (now.vectors.shape, soon.vectors.shape) == ((1, 32), (1, 64))
        assert now.input_hashes != soon.input_hashes
        assert up.client().embed("Nurse", Wanted(entity_type="job", model=soon.model_version)).vectors.shape == (1, 64)
        assert [list(info.aliases) for info in up.client().info()] == [["current"], ["next"]]


def test_a_reload_that_changes_nothing_loads_nothing_and_a_wrong_one_keeps_what_is_served() -> None:
    with running() as up:
        before = up.server.shelf.find("")

        up.do(up.server.reload(specs_of(up.settings)))
        with pytest.raises(TerminalSettingsError, match="cores"):
            up.do(up.server.reload(specs_of(settings_with("encoder.threads=4096"))))

        assert up.server.shelf.find("") is before


def test_texts_are_tokenised_while_another_model_loads() -> None:
    loads, go_on = threading.Event(), threading.Event()

    def opener(spec: EncoderSpec) -> LoadedModel:
        if spec.revision == "b":
            loads.set()
            go_on.wait(20)
        return open_model(spec)

    with running("serving.tokenise_threads=1", opener=opener) as up, ThreadPoolExecutor(1) as thread:
        swap = thread.submit(up.do, up.server.reload(specs_of(settings_with("encoder.revision=b"))))
        assert loads.wait(10)
        try:
            assert up.client(5).embed("Nurse", Wanted(entity_type="job")).vectors.shape == (1, 32)
        finally:
            go_on.set()
        swap.result(20)


def test_a_model_that_is_no_longer_served_leaves_the_memory() -> None:
    with running() as up:
        old = weakref.ref(up.encoder)

        up.do(up.server.reload(specs_of(settings_with("encoder.revision=b"))))
        gc.collect()

        assert old() is None


def test_a_model_of_a_reload_that_failed_leaves_the_memory() -> None:
    with running() as up:
        before = models_loaded()

        with pytest.raises(TerminalSettingsError, match="cores"):
            up.do(up.server.reload(specs_of(settings_with("serving.also={b: {revision: c}, d: {threads: 4096}}"))))

        assert models_loaded() == before


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("serving.also={next: {colour: red}}", "colour"),
        ("serving.also={current: {}}", "another alias"),
        ("serving.also={next: {width: -1}}", r"serving.also.next: width"),
        ("encoder.kind=grpc", "a model of its own"),
        ("serving.prot=1", "Did you mean port"),
        ("serving.max_text_bytes=99999999", "max_text_bytes <="),
        ("serving.tls.cert_file=a.pem", "both cert_file and key_file"),
        ("serving.tokens=[short]", "16"),
    ],
)
def test_settings_that_cannot_work_stop_the_start(override: str, says: str) -> None:
    with pytest.raises(TerminalSettingsError, match=says):
        specs_of(settings_with(override))
