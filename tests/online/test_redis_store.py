"""What only the Redis store promises: restarts, wrong servers, TLS, forgetting tombstones, slots of a cluster."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from deploy.stack.ports import free_ports
from jude.errors import TerminalError, TerminalSettingsError, TransientOnlineError
from jude.online import Put, PutStatus, redis_connect
from jude.online.redis_connect import Client
from jude.online.redis_store import RedisStore
from jude.settings.models import OnlineSettings
from tests.online.places import redis_settings
from tests.stack.certificates import make_certificates
from tests.stack.redis import RedisServer, need_redis, redis_server, start_redis

__all__ = ["redis_server"]
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def put(entity_id: str, position: str = "01", vector: bytes | None = b"\x00" * 8) -> Put:
    return Put("m1", "job", entity_id, position, vector, "float32", 2)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    server = start_redis(tmp_path / "redis", "--appendonly", "yes", "--appendfsync", "always")
    yield server
    server.kill()


def test_a_restart_of_the_server_is_waited_for_and_keeps_what_was_acknowledged(own_server: RedisServer) -> None:
    store = RedisStore(redis_settings(own_server.url))
    store.put_many([put(f"j{i}") for i in range(1200)], NOON)
    own_server.kill()
    own_server.start()
    assert None not in store.get_many("m1", "job", [f"j{i}" for i in range(1200)])
    assert [r.status for r in store.put_many([put("j1"), put("j1", "02")], NOON)] == [
        PutStatus.ALREADY_THIS_POSITION,
        PutStatus.STORED,
    ]
    own_server.kill()
    with pytest.raises(TransientOnlineError, match="trying again may help"):
        store.put_many([put("j1", "03")], NOON)
    store.close()


def test_an_unreachable_server_is_tried_again_by_the_job() -> None:
    with pytest.raises(TransientOnlineError, match=r"redis://127\.0\.0\.1:1/0"):
        RedisStore(redis_settings("redis://:secret@127.0.0.1:1/0"))


def test_a_wrong_password_is_told_without_it(tmp_path: Path) -> None:
    server = start_redis(tmp_path / "redis", "--requirepass", "right")
    try:
        with pytest.raises(TerminalError, match="refuses this user") as refused:
            RedisStore(redis_settings(server.url.replace("//", "//:wrong-one@")))
        assert "wrong-one" not in str(refused.value)
        RedisStore(redis_settings(server.url.replace("//", "//:right@"))).close()
    finally:
        server.kill()


def test_a_server_that_forgets_keys_by_itself_is_refused(tmp_path: Path) -> None:
    server = start_redis(tmp_path / "redis", "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(TerminalSettingsError, match="noeviction"):
            RedisStore(redis_settings(server.url))
    finally:
        server.kill()


def test_a_full_server_is_tried_again_and_still_read(tmp_path: Path) -> None:
    server = start_redis(tmp_path / "redis", "--maxmemory", "5mb")
    try:
        store = RedisStore(redis_settings(server.url))
        store.put_many([put("j0-0")], NOON)
        large = [Put("m1", "job", f"j{i}", "01", b"\0" * 1536, "float32", 384) for i in range(10_000)]
        with pytest.raises(TransientOnlineError, match="maxmemory"):
            store.put_many(large, NOON)
        assert store.get_many("m1", "job", ["j0-0"])[0] is not None
        store.close()
    finally:
        server.kill()


def test_a_server_that_may_not_write_for_a_while_is_tried_again(own_server: RedisServer) -> None:
    """Its replicas are away, or its disk is full: both pass, and the stream must not end for them."""
    store = RedisStore(redis_settings(own_server.url))
    client = store._client
    client.config_set("min-replicas-to-write", 1)
    with pytest.raises(TransientOnlineError, match="NOREPLICAS"):
        store.put_many([put("j1")], NOON)
    client.config_set("min-replicas-to-write", 0)

    client.config_set("save", "3600 1")
    (own_server.folder / "dump.rdb").mkdir()  # which no snapshot can replace
    client.bgsave()
    until_it_failed(client)
    with pytest.raises(TransientOnlineError, match="MISCONF"):
        store.put_many([put("j1")], NOON)
    client.config_set("save", "")
    assert store.put_many([put("j1")], NOON)[0].status == PutStatus.STORED
    store.close()


def until_it_failed(client: Client) -> None:
    end = time.monotonic() + 10
    while client.info("persistence")["rdb_last_bgsave_status"] == "ok":
        assert time.monotonic() < end, "the snapshot did not fail"
        time.sleep(0.02)


def test_a_script_of_others_that_runs_long_is_waited_for(own_server: RedisServer) -> None:
    store, other = RedisStore(redis_settings(own_server.url)), RedisStore(redis_settings(own_server.url))
    store._client.config_set("busy-reply-threshold", 50)
    with ThreadPoolExecutor(1) as thread:
        runs = thread.submit(other._client.eval, "while true do end", 0)
        time.sleep(0.5)
        try:
            with pytest.raises(TransientOnlineError, match="BUSY"):
                store.get_many("m1", "job", ["j1"])
        finally:
            store._client.script_kill()
        assert runs.exception(10) is not None
    store.close()
    other.close()


def test_deletes_are_forgotten_only_when_asked(redis_server: RedisServer) -> None:
    store = RedisStore(redis_settings(redis_server.url, "days", tombstone_days=30))
    store.put_many([put("live"), put("gone", vector=None)], NOON)
    client = store._client
    assert client.ttl(store._key("m1", "job", "live")) == -1
    assert 29 * 86_400 < client.ttl(store._key("m1", "job", "gone")) <= 30 * 86_400
    store.put_many([put("gone", "02")], NOON)  # the key comes back: nothing of it expires
    assert client.ttl(store._key("m1", "job", "gone")) == -1
    store.close()


def test_a_value_of_another_layout_is_refused(redis_server: RedisServer) -> None:
    store = RedisStore(redis_settings(redis_server.url, "layout"))
    store._client.set(store._key("m1", "job", "j1"), b"\x07\x0201")
    with pytest.raises(TerminalError, match="layout 7"):
        store.get_many("m1", "job", ["j1"])
    store.close()


def test_mutual_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need_redis()
    make_certificates(tmp_path)
    monkeypatch.setattr(redis_connect, "TRIES", 1)
    ca, certificate, key = (tmp_path / name for name in ("ca.crt", "client.crt", "client.key"))
    tls = ("--tls-cert-file", "server.crt", "--tls-key-file", "server.key", "--tls-ca-cert-file", "ca.crt")
    paths = [str(tmp_path / part) if not part.startswith("--") else part for part in tls]
    port = free_ports(1)[0]
    server = RedisServer(tmp_path, port, ("--port", "0", "--tls-port", str(port), *paths))
    server.start()
    try:
        url = server.url.replace("redis://", "rediss://")
        store = RedisStore(redis_settings(url, ca_file=ca, cert_file=certificate, key_file=key))
        assert store.put_many([put("j1")], NOON)[0].status == PutStatus.STORED
        store.close()
        with pytest.raises(TransientOnlineError):
            RedisStore(redis_settings(url, ca_file=ca))
    finally:
        server.kill()


def test_certificates_without_tls_are_a_sentence(tmp_path: Path) -> None:
    """Else the start would end in a stack trace."""
    plain = redis_settings("redis://redis.example:6379/0", ca_file=tmp_path / "ca.crt")
    with pytest.raises(ValidationError, match="must begin with rediss://"):
        OnlineSettings(kind="redis", path=None, redis=plain)


def test_the_keys_of_one_script_share_a_slot_of_a_cluster(redis_server: RedisServer) -> None:
    from redis.crc import key_slot

    store = RedisStore(redis_settings(redis_server.url, "slots"))
    store._cluster = True
    keys = [store._key("m1", "job", f"j{i}") for i in range(3000)]
    scripts = list(store._scripts(keys))
    assert sorted(n for numbers in scripts for n in numbers) == list(range(3000))
    assert all(len({key_slot(keys[n]) for n in numbers}) == 1 for numbers in scripts)
    store.close()
