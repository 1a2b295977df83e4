"""The servers of `benchmarks.serving`, each started on one model folder, and the texts that they are asked for."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import peers
from benchmarks.servers.offering import Body, Connect, over_grpc, over_http
from benchmarks.servers.ours import serving
from benchmarks.servers.small_qwen import MAX_TOKENS, words
from jude.serving.v1 import embedding_pb2 as pb

NAMES = ("ours", "vllm", "infinity")
MEAN_TOKENS, _SIGMA = 120, 0.6
_GRPC_METHOD = "/jude.embedding.v1.EmbeddingService/Embed"


@dataclass(frozen=True, slots=True)
class Setting:
    """One server with what may be chosen."""

    name: str
    dtype: str
    threads: int


@dataclass(frozen=True, slots=True)
class Contender:
    """A server that answers."""

    name: str
    model: Path
    process: int
    connect: Connect


class Texts:
    """Texts of log-normal lengths; none comes twice, because a server may remember."""

    def __init__(self, seed: int, to: Contender) -> None:
        self._rng, self._start, self._to = random.Random(seed), seed * 1_000_003, to

    def __call__(self) -> Body:
        """The next text, as a request of one server."""
        drawn = self._rng.lognormvariate(math.log(MEAN_TOKENS) - _SIGMA**2 / 2, _SIGMA)
        count = min(MAX_TOKENS - 1, max(1, round(drawn)))
        self._start += 1
        text = words(count, self._start)
        to = self._to
        if to.name == "ours":
            options = pb.EmbedOptions(entity_type="job", lane=pb.LANE_ONLINE)
            request = pb.EmbedRequest(input=pb.EmbedInput(text=text), options=options)
            return Body("text", _GRPC_METHOD, request.SerializeToString(), count + 1)
        path = {"infinity": "/embeddings", "vllm": "/v1/embeddings"}[to.name]
        return Body("text", path, json.dumps({"model": str(to.model), "input": [text]}).encode(), count + 1)


@contextmanager
def started(setting: Setting, model: Path) -> Iterator[Contender]:
    """Start one server; end it afterwards."""
    if setting.name == "ours":
        overrides = ("encoder.kind=folder", f"encoder.path={model}", f"encoder.compute={setting.dtype}")
        # What is computed at once stays in a core's cache: 9 % more than 1,000 tokens in bfloat16, 2 % in float32.
        own = (f"encoder.threads={setting.threads}", "encoder.batch_tokens=512")
        with serving(*overrides, *own) as server:
            yield Contender("ours", model, server.process, lambda: over_grpc(server.target))
        return
    peer = {"infinity": peers.infinity, "vllm": peers.vllm}[setting.name](setting.dtype, setting.threads)
    with peers.running(peer, model) as process:
        yield Contender(setting.name, model, process, lambda: over_http("127.0.0.1", peer.port))
