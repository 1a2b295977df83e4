"""The sections of the embedding service: the server of `jude serve`, and where `encoder.kind: grpc` finds one."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from jude.settings.paths import LocalPath

_CHECKED: Final = ConfigDict(extra="forbid", strict=True)
_Positive = Annotated[int, Field(gt=0)]
_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Token = Annotated[str, Field(pattern=r"^[!-~]+$")]  # a header carries nothing else, such as the end of a file's line
_Port = Annotated[int, Field(ge=0, le=65535)]
_MODEL_KEYS: Final = frozenset(
    {
        "kind",
        "path",
        "adapter",
        "pooling",
        "mask",
        "normalise",
        "compute",
        "revision",
        "max_tokens",
        "width",
        "dtype",
        "batch_tokens",
        "threads",
        "device",
    }
)


@dataclass(frozen=True, config=_CHECKED)
class ServerAddressSettings:
    """`encoder.server`: the service that `encoder.kind: grpc` calls."""

    target: Annotated[str, Field(min_length=1)]
    model: str
    token: _Token | None = field(repr=False)
    tls: bool
    ca_file: LocalPath | None
    cert_file: LocalPath | None
    key_file: LocalPath | None

    @model_validator(mode="after")
    def _is_complete(self) -> ServerAddressSettings:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("name both cert_file and key_file, or neither")
        if not self.tls and (self.ca_file or self.cert_file):
            raise ValueError("certificates are named, so tls must be true")
        return self


@dataclass(frozen=True, config=_CHECKED)
class TlsSettings:
    """`serving.tls`: the server's certificate, and whose certificates callers must show."""

    cert_file: LocalPath | None
    key_file: LocalPath | None
    client_ca_file: LocalPath | None

    @model_validator(mode="after")
    def _is_complete(self) -> TlsSettings:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("name both cert_file and key_file, or neither")
        if self.client_ca_file is not None and self.cert_file is None:
            raise ValueError("client_ca_file is given, so cert_file and key_file must be, too")
        return self


@dataclass(frozen=True, config=_CHECKED)
class ServingSettings:
    """`serving`: the gRPC server."""

    host: str
    port: _Port
    health_port: _Port | None
    metrics_port: _Port | None
    metrics_host: str
    also: dict[str, dict[str, Any]]
    tokens: tuple[Annotated[_Token, Field(min_length=16)], ...] = field(repr=False)
    tls: TlsSettings
    lanes: Literal[1, 2]
    pass_milliseconds: _Positive
    online_queue_seconds: _Seconds
    bulk_queue_seconds: _Seconds
    ageing_seconds: _Seconds
    bulk_share: Annotated[float, Field(gt=0, lt=1)]
    max_items: _Positive
    max_text_bytes: _Positive
    max_message_bytes: _Positive
    max_waiting_bytes: _Positive
    stream_window: _Positive
    tokenise_threads: _Positive
    canary_seconds: _Seconds
    drain_seconds: _Seconds
    trace_endpoint: str | None

    @model_validator(mode="after")
    def _models_fit(self) -> ServingSettings:
        if "current" in self.also:
            raise ValueError("current is the model of the section encoder: give the others another alias")
        for alias, differing in self.also.items():
            if unknown := sorted(differing.keys() - _MODEL_KEYS):
                raise ValueError(f"also.{alias} may change keys of the section encoder, not {', '.join(unknown)}")
        return self

    @model_validator(mode="after")
    def _sizes_fit(self) -> ServingSettings:
        if self.max_text_bytes > self.max_message_bytes or self.max_message_bytes > self.max_waiting_bytes:
            raise ValueError("max_text_bytes <= max_message_bytes <= max_waiting_bytes must hold")
        return self
