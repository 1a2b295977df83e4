"""Whether a service is ready, found out by asking it what its users will ask."""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.request
from typing import Any

from deploy.stack.programs import postgres_folder
from deploy.stack.services import CONNECTOR, Places


def is_ready(service: str, places: Places) -> bool:
    """Tell whether a service answers."""
    try:
        return bool(_ASK[service](places.ports[service]))
    except (OSError, ValueError):
        return False


def restart_failed_task(places: Places) -> None:
    """Restart the connector where it gave up (its database was away for longer than it tries)."""
    address = f"http://127.0.0.1:{places.ports['connect']}/connectors/{CONNECTOR}"
    try:
        with urllib.request.urlopen(f"{address}/status", timeout=2) as answer:
            status = json.load(answer)
        states = [status["connector"]["state"], *(task["state"] for task in status["tasks"])]
        if "FAILED" in states:
            asked = urllib.request.Request(f"{address}/restart?includeTasks=true&onlyFailed=true", method="POST")
            urllib.request.urlopen(asked, timeout=5).close()
    except (OSError, ValueError):  # it starts, or it is busy: the next look will tell
        return


def _postgres_answers(port: int) -> bool:
    asked = [str(postgres_folder() / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    return subprocess.run(asked, check=False).returncode == 0


def _kafka_answers(port: int) -> bool:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    with socket.create_connection(("127.0.0.1", port), 0.5):  # librdkafka would wait a second
        pass
    admin: Any = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}", "log_level": 0})
    try:
        return bool(admin.list_topics(timeout=2).brokers)
    except KafkaException:
        return False


def _connect_answers(port: int) -> bool:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/connectors/{CONNECTOR}/status", timeout=2) as answer:
        status = json.load(answer)
    return [task["state"] for task in status["tasks"]] == ["RUNNING"]


def _redis_answers(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), 0.5) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(16).startswith(b"+PONG")


_ASK = {"postgres": _postgres_answers, "kafka": _kafka_answers, "connect": _connect_answers, "redis": _redis_answers}
