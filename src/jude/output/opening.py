"""Choosing the output by configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from jude.output.message import Format
from jude.output.protocol import NoOutput, Output


class OutputSettings(Protocol):
    """`output` of the configuration."""

    @property
    def kind(self) -> str: ...
    @property
    def bootstrap_servers(self) -> str: ...
    @property
    def topic(self) -> str: ...
    @property
    def format(self) -> Format: ...
    @property
    def partitions(self) -> int: ...
    @property
    def timeout_seconds(self) -> float: ...
    @property
    def options(self) -> Mapping[str, str]: ...


def open_output(settings: OutputSettings) -> Output:
    """Open the configured output. Raises what it raises."""
    if settings.kind == "none":
        return NoOutput()
    from jude.output.kafka import KafkaOutput

    return KafkaOutput(
        bootstrap_servers=settings.bootstrap_servers,
        topic=settings.topic,
        form=settings.format,
        partitions=settings.partitions,
        timeout_seconds=settings.timeout_seconds,
        options=settings.options,
    )
