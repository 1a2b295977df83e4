"""What an encoder is made of, as plain data: travels to executors, and says nothing about where the encoder runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from jude.serving.address import ServerAddress

DEFAULT_BATCH_TOKENS = 2048
"""MiniLM on one AVX2 core makes 2,600 tokens a second with 1,024 to 2,048, 2,240 with 256 and 2,375 with 16,384."""


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """An encoder by its settings. Those of the last block change how fast it works, not what it makes."""

    kind: str  # all-minilm-l6-v2 | hashing | folder | grpc
    max_tokens: int | None = None  # None: as long as the kind was trained for
    width: int | None = None  # None: as wide as the kind is
    dtype: str = "float32"  # how vectors are stored: float32 | bfloat16
    prompts: Mapping[str, str] = field(default_factory=dict)  # by entity type, put before the text
    render_versions: Mapping[str, str] = field(default_factory=dict)  # by entity type
    path: str | None = None  # of a model folder; only for the kind folder
    adapter: str | None = None  # folder of a LoRA adapter, merged in float32 when the model is loaded
    pooling: str | None = None  # mean | last | cls | weighted_mean; None: as the folder says
    mask: str | None = None  # causal | bidirectional; None: as the folder says
    normalise: bool | None = None  # unit norm; None: as the folder says
    compute: str = "float32"  # float32 | bfloat16
    revision: str = ""  # any other word makes a new model version of the same model

    batch_tokens: int = DEFAULT_BATCH_TOKENS  # of one forward pass, padding included
    threads: int | None = None  # cores of one encoder; None: all
    device: str = "cpu"  # cpu | cuda

    server: ServerAddress | None = None  # kind grpc: who makes the vectors
    server_model: str = "current"  # kind grpc: exact version or alias
    server_seconds: float = 120.0  # kind grpc: patience with one call

    def as_json(self) -> str:
        """One line that is equal for equal specs, whatever the order of the mappings."""
        return json.dumps(asdict(self), sort_keys=True)


def spec_of(line: str) -> EncoderSpec:
    """Read back what `as_json` wrote."""
    fields = json.loads(line)
    address = fields.pop("server")
    return EncoderSpec(**fields, server=ServerAddress(**address) if address else None)
