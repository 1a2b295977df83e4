"""How far the stream is behind its source: files by the checkpoint, Kafka by what its broker says."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from jude.cli.show import count_of
from jude.settings import Settings
from jude.stream.checkpoint import local_folder
from jude.stream.controls import StreamState, state_of

_ASK_SECONDS: Final = 5.0


def lag_of(settings: Settings) -> str:
    """Say what of the source is not read yet, by the checkpoint's last committed batch."""
    if settings.source.kind != "files":
        return _kafka_lag(settings)
    from jude.changes.file_source import FileOffset, FolderCursor

    cursor = FolderCursor(Path(str(settings.source.path)), fail_on_data_loss=False)
    if not cursor.folder.is_dir():
        return f"the folder {cursor.folder} is missing"
    written = _committed_offset(settings.stream.checkpoint)
    try:
        read = FileOffset.from_json(json.loads(written)) if written is not None else FileOffset()
    except (ValueError, KeyError):
        return "unknown: the checkpoint is damaged, or another source's"
    waiting = cursor.names() - read.done - {read.open_file}
    if not waiting and not read.open_file:
        return "read to its end"
    partly = f", {read.open_file} read up to line {read.lines:,}" if read.open_file else ""
    return f"{count_of(len(waiting), 'file')} not read yet{partly}"


def offsets_behind(settings: Settings, state: StreamState) -> int | None:
    """Count the records that Kafka holds beyond the checkpoint; None where that cannot be told.

    Spark commits no offsets to a consumer group, so the broker's end offsets are compared with the checkpoint's.
    """
    if settings.source.kind != "kafka" or state.offsets is None:
        return None
    try:
        from confluent_kafka import Consumer, KafkaException, TopicPartition
    except ImportError:
        return None
    asked = {"bootstrap.servers": settings.source.kafka.bootstrap_servers, "group.id": "jude-lag", "log_level": 0}
    consumer = Consumer(asked | librdkafka_options(settings.source.kafka.options))
    try:
        ends = (
            (int(read), consumer.get_watermark_offsets(TopicPartition(topic, int(p)), timeout=_ASK_SECONDS)[1])
            for topic, partitions in state.offsets.items()
            for p, read in partitions.items()
        )
        return sum(max(end - read, 0) for read, end in ends)
    except (KafkaException, TypeError):  # not reachable, or it wants what librdkafka is not told here
        return None
    finally:
        consumer.close()


def librdkafka_options(options: Mapping[str, str]) -> dict[str, str]:
    """Take over the options that Java's client and librdkafka spell alike; a JAAS line becomes user and password."""
    alike = {"security.protocol", "sasl.mechanism", "ssl.endpoint.identification.algorithm"}
    plain = {name.removeprefix("kafka."): value for name, value in options.items() if name.startswith("kafka.")}
    kept = {name: value for name, value in plain.items() if name in alike}
    jaas = dict(re.findall(r'(username|password)="((?:[^"\\]|\\.)*)"', plain.get("sasl.jaas.config", "")))
    kept |= {f"sasl.{name}": value for name, value in jaas.items()}
    if plain.get("ssl.truststore.type", "").upper() == "PEM" and "ssl.truststore.location" in plain:
        kept["ssl.ca.location"] = plain["ssl.truststore.location"]
    return kept


def _kafka_lag(settings: Settings) -> str:
    state = state_of(settings.stream.checkpoint) if local_folder(settings.stream.checkpoint) else None
    behind = offsets_behind(settings, state) if state else None
    if behind is None:
        return "unknown: the broker does not answer, or nothing was read yet"
    return "read to its end" if behind == 0 else f"{count_of(behind, 'record')} in Kafka not read yet"


def _committed_offset(checkpoint: str) -> str | None:
    """Read what Spark wrote of the newest committed batch: the last line of its offsets file is the source's own."""
    folder = local_folder(checkpoint)
    if folder is None or not (folder / "commits").is_dir():
        return None
    batches = [int(file.name) for file in (folder / "commits").iterdir() if file.name.isdigit()]
    if not batches:
        return None
    try:
        return (folder / "offsets" / str(max(batches))).read_text().strip().rpartition("\n")[2]
    except OSError:
        return None
