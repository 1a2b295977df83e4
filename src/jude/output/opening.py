"""Choosing the output by configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jude.output.protocol import NoOutput, Output

if TYPE_CHECKING:
    from jude.settings import OutputSettings


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
