"""The shape of the configuration: one frozen class per section. What a key means stands in `conf/base.yml`."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from jude.changes.position import MAX_EPOCH
from jude.settings.paths import LocalPath, Location
from jude.settings.registry import RegistrySettings
from jude.settings.serving import ServerAddressSettings, ServingSettings

_CHECKED: Final = ConfigDict(extra="forbid", strict=True)
_Positive = Annotated[int, Field(gt=0)]
_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Word = Annotated[str, Field(pattern=r"^\w+$")]  # SQL names it without quotes
# YAML reads `true` and `5` as such; Spark, Kafka and object stores want them as text.
_Text = Annotated[str, BeforeValidator(lambda v: str(v).lower() if isinstance(v, bool | int | float) else v)]

_PUT_IF_ABSENT: Final = ("aws_s3_locking_provider", "aws_conditional_put", "conditional_put")


@dataclass(frozen=True, config=_CHECKED)
class KafkaSettings:
    """`source.kafka`"""

    bootstrap_servers: str
    topics: tuple[str, ...]
    pattern: str | None
    options: dict[str, _Text] = field(repr=False)  # may hold passwords


@dataclass(frozen=True, config=_CHECKED)
class SourceSettings:
    """`source`: where changes come from."""

    kind: Literal["files", "kafka"]
    path: LocalPath | None
    kafka: KafkaSettings
    starting_offsets: Annotated[str, Field(pattern=r"^(earliest|latest|\{.*\})$")]
    fail_on_data_loss: bool
    max_offsets_per_trigger: _Positive | None
    max_files_per_trigger: _Positive | None

    @model_validator(mode="after")
    def _is_complete(self) -> SourceSettings:
        if self.kind == "files" and self.path is None:
            raise ValueError("kind is files, so path must name the folder of the recorded changes")
        if self.kind == "files" and self.starting_offsets != "earliest":
            raise ValueError("kind is files, which are always read from the first one: starting_offsets is earliest")
        if self.kind == "kafka" and not self.kafka.bootstrap_servers:
            raise ValueError("kind is kafka, so kafka.bootstrap_servers must name a broker, as host:port")
        if self.kind == "kafka" and bool(self.kafka.topics) == bool(self.kafka.pattern):
            raise ValueError("kind is kafka, so name either kafka.topics or kafka.pattern, and not both")
        return self


@dataclass(frozen=True, config=_CHECKED)
class StreamSettings:
    """`stream`: how the micro-batches run."""

    trigger: Literal["processing_time", "available_now"]
    interval_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    checkpoint: Location
    source_epoch: Annotated[int, Field(ge=0, le=MAX_EPOCH)]
    truncate: Literal["stop", "delete_all"]
    missing_field: Literal["stop", "quarantine"]
    planner: Literal["auto", "driver", "executors"]
    driver_rows: _Positive
    commit_attempts: _Positive
    retry_seconds: Annotated[float, Field(ge=0)]
    drain_after_seconds: _Seconds | None


@dataclass(frozen=True, config=_CHECKED)
class EncoderSettings:
    """`encoder`: which model makes the vectors, and where it runs."""

    kind: Literal["all-minilm-l6-v2", "hashing", "folder", "grpc"]
    path: LocalPath | None
    adapter: LocalPath | None
    pooling: Literal["mean", "last", "cls", "weighted_mean"] | None
    mask: Literal["causal", "bidirectional"] | None
    normalise: bool | None
    compute: Literal["float32", "bfloat16"]
    revision: Annotated[str, BeforeValidator(lambda v: str(v) if type(v) is int else v)]  # `2` is a word here
    max_tokens: _Positive | None
    width: _Positive | None
    dtype: Literal["float32", "bfloat16"]
    batch_tokens: _Positive
    threads: _Positive | None
    device: Annotated[str, Field(pattern=r"^(cpu|cuda(:\d+)?)$")]
    where: Literal["driver", "executors"]
    attempts: _Positive
    backoff_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    timeout_seconds: _Seconds
    server: ServerAddressSettings

    @model_validator(mode="after")
    def _has_its_folder(self) -> EncoderSettings:
        if (self.kind == "folder") != (self.path is not None):
            raise ValueError("path names a model's folder: give it with kind folder, and only then")
        return self


@dataclass(frozen=True, config=_CHECKED)
class TablesSettings:
    """`tables`: where the Delta tables live and who writes them."""

    root: Location | None
    catalog: _Word | None
    schema: _Word | None
    writer: Literal["native", "spark"]
    buckets: Annotated[int, Field(gt=0, le=65_536)]
    storage_options: dict[str, _Text] = field(repr=False)  # may hold keys

    @model_validator(mode="after")
    def _is_one_place(self) -> TablesSettings:
        if (self.root is None) == (self.schema is None):
            raise ValueError("name either root (a folder) or schema (with or without catalog), and not both")
        if self.catalog is not None and self.schema is None:
            raise ValueError("catalog is given, so schema must be, too")
        if self.buckets & (self.buckets - 1):
            raise ValueError(f"buckets must be a power of two (1, 2, 4, 8, ...), not {self.buckets}")
        return self

    @model_validator(mode="after")
    def _writer_fits(self) -> TablesSettings:
        if self.writer == "native" and self.root is None:
            raise ValueError("writer native needs root: tables of a catalog are written by the writer spark")
        given = {option.lower() for option in self.storage_options}
        on_s3 = (self.root or "").startswith(("s3:", "s3a:"))
        if self.writer == "native" and on_s3 and not given & set(_PUT_IF_ABSENT):
            raise ValueError(
                "two writers on S3 overwrite each other's commits unless each put asks whether the file is there: "
                "set storage_options.aws_conditional_put: etag (or aws_s3_locking_provider: dynamodb), "
                "or let the writer spark be the only one"
            )
        return self


@dataclass(frozen=True, config=_CHECKED)
class RedisSettings:
    """`online.redis`"""

    url: str = field(repr=False)  # may hold a password
    cluster: bool
    prefix: Annotated[str, Field(pattern=r"^[^{}:\s]+$")]
    ca_file: LocalPath | None
    cert_file: LocalPath | None
    key_file: LocalPath | None
    timeout_seconds: _Seconds
    tombstone_days: _Positive | None


@dataclass(frozen=True, config=_CHECKED)
class OnlineSettings:
    """`online`: the store that serves the newest vector of a key."""

    kind: Literal["sqlite", "redis", "none"]
    path: LocalPath | None
    redis: RedisSettings

    @model_validator(mode="after")
    def _is_complete(self) -> OnlineSettings:
        if self.kind == "sqlite" and self.path is None:
            raise ValueError("kind is sqlite, so path must name its file")
        if self.kind == "redis" and not self.redis.url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("kind is redis, so redis.url must name a server: redis://host:6379/0, rediss:// with TLS")
        files = (self.redis.ca_file, self.redis.cert_file, self.redis.key_file)
        if self.kind == "redis" and any(files) and not self.redis.url.startswith("rediss://"):
            raise ValueError(
                "redis.ca_file, cert_file and key_file are for TLS, so redis.url must begin with rediss://"
            )
        return self


@dataclass(frozen=True, config=_CHECKED)
class OutputSettings:
    """`output`: the topic that every applied change goes to."""

    kind: Literal["kafka", "none"]
    bootstrap_servers: str
    topic: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]
    format: Literal["protobuf", "json"]
    partitions: _Positive
    timeout_seconds: _Seconds
    options: dict[str, _Text] = field(repr=False)  # may hold passwords

    @model_validator(mode="after")
    def _is_complete(self) -> OutputSettings:
        if self.kind == "kafka" and not self.bootstrap_servers:
            raise ValueError("kind is kafka, so bootstrap_servers must name a broker, as host:port")
        return self


@dataclass(frozen=True, config=_CHECKED)
class MaintenanceSettings:
    """`maintenance`: what jobs/maintenance.py does to the tables."""

    target_mib: _Positive
    small_files: _Positive
    retention_hours: Annotated[int, Field(ge=1)]


@dataclass(frozen=True, config=_CHECKED)
class MetricsSettings:
    """`metrics`: where Prometheus finds the stream's."""

    port: Annotated[int, Field(ge=1, le=65535)] | None
    host: str


@dataclass(frozen=True, config=_CHECKED)
class SparkSettings:
    """`spark`: the session."""

    master: str | None
    driver_memory: Annotated[str, Field(pattern=r"^[1-9][0-9]*[kmgt]$")]
    shuffle_partitions: _Positive
    extra: dict[str, _Text] = field(repr=False)  # may hold keys


@dataclass(frozen=True, config=_CHECKED)
class LogSettings:
    """`log`: what the log says."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"]
    format: Literal["text", "json"]
    show_ids: bool


@dataclass(frozen=True, config=_CHECKED)
class EntitiesSettings:
    """`entities`: the folder of entity files."""

    folder: LocalPath


@dataclass(frozen=True, config=_CHECKED)
class Settings:
    """The whole configuration of one deployment."""

    source: SourceSettings
    entities: EntitiesSettings
    stream: StreamSettings
    encoder: EncoderSettings
    models: RegistrySettings
    serving: ServingSettings
    tables: TablesSettings
    online: OnlineSettings
    output: OutputSettings
    maintenance: MaintenanceSettings
    metrics: MetricsSettings
    spark: SparkSettings
    log: LogSettings
