"""The four services: the files that each one needs, how it is started, and when it is ready."""

from __future__ import annotations

import base64
import json
import shutil
import signal
import subprocess
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.stack import jars
from deploy.stack.processes import Command
from deploy.stack.programs import check_reachable, postgres_folder, postgres_user, redis_server

HERE = Path(__file__).parent
CONNECTOR = "jude-postgres"
PORTS = ("postgres", "kafka", "kafka_controller", "connect", "redis")

_BROKER = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{kafka_controller}
listeners=PLAINTEXT://127.0.0.1:{kafka},CONTROLLER://127.0.0.1:{kafka_controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{kafka}
controller.listener.names=CONTROLLER
log.dirs={state}
num.partitions=3
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
message.max.bytes=8388608
"""
_WORKER = """bootstrap.servers=127.0.0.1:{kafka}
listeners=http://127.0.0.1:{connect}
key.converter=org.apache.kafka.connect.json.JsonConverter
value.converter=org.apache.kafka.connect.json.JsonConverter
key.converter.schemas.enable=false
value.converter.schemas.enable=false
offset.storage.file.filename={state}/offsets
offset.flush.interval.ms=1000
plugin.path={plugins}
plugin.discovery=service_load
producer.max.request.size=8388608
connector.client.config.override.policy=All
"""


@dataclass(frozen=True)
class Places:
    """Where the stack lies, and its ports by name."""

    folder: Path
    jars: Path
    ports: Mapping[str, int]
    broker: str = ""  # lines below the broker's own properties; {kafka} is its port

    def of(self, service: str) -> Path:
        """Give the folder of one service."""
        return self.folder / service

    def log(self, service: str) -> Path:
        """Give the log file of one service."""
        return self.folder / "logs" / f"{service}.log"


def postgres(places: Places) -> Command:
    """Make the data folder where there is none; a replica of the log is what Debezium reads."""
    programs, user, data = postgres_folder(), postgres_user(), places.of("postgres")
    check_reachable(data, user)
    if not (data / "PG_VERSION").exists():
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir(parents=True)
        if user:
            shutil.chown(data, user, user)
        command = [str(programs / "initdb"), "-D", str(data), "-U", "jude", "--auth=trust", "-E", "UTF8", "--no-sync"]
        subprocess.run(command, check=True, capture_output=True, cwd=data, user=user, group=user)
    options = {
        "port": places.ports["postgres"], "listen_addresses": "127.0.0.1", "unix_socket_directories": "",
        "wal_level": "logical", "max_wal_senders": 4, "max_replication_slots": 4, "shared_buffers": "32MB",
        "max_slot_wal_keep_size": "2GB",
    }  # fmt: skip
    flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    # SIGINT is PostgreSQL's fast shutdown; SIGTERM would wait for Debezium to leave.
    arguments = [str(programs / "postgres"), "-D", str(data), *flags]
    return Command(arguments, data, places.log("postgres"), user, signal.SIGINT)


def kafka(places: Places) -> Command:
    """Format the storage where it is new."""
    libs = jars.fetch([*jars.BROKER, *jars.CONNECT], places.jars / "broker")
    folder = places.of("kafka")
    folder.mkdir(parents=True, exist_ok=True)
    properties = folder / "server.properties"
    properties.write_text((_BROKER + places.broker).format(**places.ports, state=folder / "state"))
    program = jars.java(libs)
    if not (folder / "state" / "meta.properties").exists():
        cluster = base64.urlsafe_b64encode(b"j" + uuid.uuid4().bytes[1:]).decode().rstrip("=")  # never begins with "-"
        made = [*program, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties)]
        subprocess.run(made, check=True, capture_output=True)
    return Command([*program, "kafka.Kafka", str(properties)], folder, places.log("kafka"))


def connect(places: Places) -> Command:
    """Write the worker's and the connector's settings."""
    libs = jars.fetch([*jars.BROKER, *jars.CONNECT], places.jars / "broker")
    plugin = places.jars / "plugins" / "debezium-postgres"
    jars.without_those_of_connect(jars.fetch(jars.PLUGIN, plugin))
    folder = places.of("connect")
    folder.mkdir(parents=True, exist_ok=True)
    worker, connector = folder / "worker.properties", folder / "connector.json"
    worker.write_text(_WORKER.format(**places.ports, state=folder, plugins=plugin.parent))
    settings = connector_settings() | {
        "database.hostname": "127.0.0.1",
        "database.port": str(places.ports["postgres"]),
    }
    connector.write_text(json.dumps({"name": CONNECTOR, "config": settings}, indent=2))
    program = [*jars.java(libs), "org.apache.kafka.connect.cli.ConnectStandalone"]
    return Command([*program, str(worker), str(connector)], folder, places.log("connect"))


def redis(places: Places) -> Command:
    """What was acknowledged survives a killed server (`everysec` holds writes back while a sync runs); no eviction."""
    folder = places.of("redis")
    folder.mkdir(parents=True, exist_ok=True)
    options = ["--bind", "127.0.0.1", "--port", str(places.ports["redis"]), "--dir", str(folder), "--save", ""]
    durable = ["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"]
    return Command([redis_server(), *options, *durable], folder, places.log("redis"))


COMMANDS = {"postgres": postgres, "kafka": kafka, "redis": redis, "connect": connect}


def connector_settings() -> dict[str, str]:
    """Read the connector's settings; host and port of the database are those of the containers."""
    settings: dict[str, str] = json.loads((HERE / "connector.json").read_text())
    return settings


def database_url(places: Places) -> str:
    """Give the address of the source database."""
    return f"postgresql://jude:jude@127.0.0.1:{places.ports['postgres']}/jude"
