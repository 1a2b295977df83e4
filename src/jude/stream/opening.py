"""Settings come in, the parts of a running pipeline go out."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from jude.encoder import (
    EncoderSpec,
    RetryPolicy,
    manifest_of,
    open_encoder,
    open_tokeniser,
    pinned,
)
from jude.encoder.calls import PASSES_PER_CALL, BatchEncoder
from jude.entities import Entities, load_entities
from jude.errors import TerminalSettingsError
from jude.online.opening import open_online
from jude.output import open_output
from jude.release import register
from jude.serving.address import ServerAddress
from jude.settings import EncoderSettings, ServerAddressSettings, Settings, TablesSettings
from jude.stream.checkpoint import ATTEMPTS_NAME, local_folder
from jude.stream.pipeline import EncodeInputs, Pipeline
from jude.stream.vectors import PART_TOKENS
from jude.tables.protocol import Tables

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def open_pipeline(settings: Settings, spark: SparkSession | None = None) -> Pipeline:
    """Open tables, online store and encoder. `spark` may be left out where nothing in the settings needs it.

    Raises TerminalSettingsError, TerminalEnvironmentError (something is not installed), TerminalTableError.
    """
    entities = load_entities(settings.entities.folder)
    spec = pinned(encoder_spec(settings.encoder, entities))
    tables = open_tables(settings.tables, spark)
    tables.ensure()
    register(tables, open_tokeniser(spec).model_version, manifest_of(spec), now())
    checkpoint = local_folder(settings.stream.checkpoint)
    encode, width = _open_encode(settings.encoder, spec, spark)
    # A part costs a commit and a call: tenths of a second each where Spark makes them.
    cheap_parts = settings.tables.writer == "native" and settings.encoder.where == "driver"
    return Pipeline(
        entities=entities,
        tokeniser=open_tokeniser(spec),
        encode=encode,
        width=width,
        dtype=settings.encoder.dtype,
        tables=tables,
        online=open_online(settings.online),
        clock=now,
        source_epoch=settings.stream.source_epoch,
        truncate=settings.stream.truncate,
        missing_field=settings.stream.missing_field,
        commit_attempts=settings.stream.commit_attempts,
        part_tokens=PART_TOKENS if cheap_parts else None,
        attempts_file=checkpoint / ATTEMPTS_NAME if checkpoint else None,
        pause=time.sleep,
        output=open_output(settings.output),
    )


def now() -> datetime:
    """The clock of every running pipeline."""
    return datetime.now(UTC)


def encoder_spec(encoder: EncoderSettings, entities: Entities) -> EncoderSpec:
    """What the model version is made of: the encoder's settings, and how each entity is rendered and prompted."""
    return EncoderSpec(
        kind=encoder.kind,
        path=str(encoder.path) if encoder.path else None,
        adapter=str(encoder.adapter) if encoder.adapter else None,
        pooling=encoder.pooling,
        mask=encoder.mask,
        normalise=encoder.normalise,
        compute=encoder.compute,
        revision=encoder.revision,
        max_tokens=encoder.max_tokens,
        width=encoder.width,
        dtype=encoder.dtype,
        batch_tokens=encoder.batch_tokens,
        threads=encoder.threads,
        device=encoder.device,
        prompts={entity.name: entity.prompt for entity in entities.values()},
        render_versions={entity.name: entity.render_version for entity in entities.values()},
        server=server_address(encoder.server) if encoder.kind == "grpc" else None,
        server_model=encoder.server.model,
        server_seconds=encoder.timeout_seconds,
    )


def server_address(server: ServerAddressSettings) -> ServerAddress:
    """Where `encoder.server` is."""
    return ServerAddress(
        target=server.target,
        token=server.token,
        tls=server.tls,
        ca_file=str(server.ca_file) if server.ca_file else None,
        cert_file=str(server.cert_file) if server.cert_file else None,
        key_file=str(server.key_file) if server.key_file else None,
    )


def open_tables(settings: TablesSettings, spark: SparkSession | None) -> Tables:
    """Choose the writer."""
    if settings.writer == "native":
        from jude.tables.native import NativeTables

        assert settings.root is not None, "the settings refuse writer native without a root"
        return NativeTables(settings.root, settings.buckets, settings.storage_options)
    if spark is None:
        raise TerminalSettingsError("tables.writer is spark, which this command cannot use: it starts no Spark.")
    from jude.tables.spark_tables import SparkTables

    schema = f"{settings.catalog}.{settings.schema}" if settings.catalog else settings.schema
    return SparkTables(spark, settings.buckets, root=settings.root, schema=schema)


def _open_encode(encoder: EncoderSettings, spec: EncoderSpec, spark: SparkSession | None) -> tuple[EncodeInputs, int]:
    """The retrying, bisecting encode function of a batch, and the width of its vectors."""
    policy = RetryPolicy(encoder.attempts, encoder.backoff_seconds, encoder.timeout_seconds)
    if encoder.where == "executors":
        if spark is None:
            raise TerminalSettingsError(
                "encoder.where is executors, which this command cannot use: it starts no Spark."
            )
        from jude.encoder.udf import encode_in_executors

        encode, width = encode_in_executors(spark, spec), manifest_of(spec).width
    else:
        model = open_encoder(spec)
        encode, width = model.encode, model.width
    return BatchEncoder(encode, policy, width, PASSES_PER_CALL * encoder.batch_tokens), width
