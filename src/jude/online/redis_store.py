"""The online store in Redis: one string per entity, put by one Lua script that compares positions.

A key is `<prefix>:{<tag>}:<model_version>:<entity_type>:<entity_id>`. The tag (a hash of the entity id) decides the
slot of a Redis Cluster, so that one script can put many keys of one slot there; a single server takes a whole call.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from zlib import crc32

from jude.errors import TerminalError
from jude.online.protocol import OnlineVector, Put, PutResult, PutStatus
from jude.online.redis_connect import RedisSettings, connect, redis_errors, where
from jude.online.value import decode_value, encode_value

HASH_TAGS: Final = 1024  # of a cluster's 16,384 slots: balanced up to about 100 nodes, few scripts per batch
PUTS_PER_SCRIPT: Final = 500  # a script blocks its server: 500 puts of 1.6 kB take it about 5 ms
LAYOUT: Final = 1
_HEAD: Final = struct.Struct(">BB")  # layout, length of the position
_CLOCK: Final = struct.Struct(">Q")  # microseconds since the epoch
_MOST_POSITION: Final = 64
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

# A value is head + position + clock + vector (none: deleted). KEYS: entities. ARGV: seconds to keep a tombstone (0: for
# ever), then per key position and value. The answer per key: 1 stored, 0 newer present, else the head that is there.
# Positions have one width and hold 0-9a-f and '-' only, which every collation of the server's C library sorts alike.
_PUT: Final = f"""
local answers = {{}}
for i, key in ipairs(KEYS) do
  local position, value = ARGV[2 * i], ARGV[2 * i + 1]
  local head = redis.call('GETRANGE', key, 0, {_HEAD.size + _MOST_POSITION + _CLOCK.size - 1})
  local held = head == '' and '' or string.sub(head, 3, 2 + string.byte(head, 2))
  if position > held then
    if ARGV[1] ~= '0' and #value == #position + {_HEAD.size + _CLOCK.size} then
      redis.call('SET', key, value, 'EX', ARGV[1])
    else
      redis.call('SET', key, value)
    end
    answers[i] = 1
  else
    answers[i] = position == held and head or 0
  end
end
return answers"""


class RedisStore:
    """An OnlineStore in Redis or Redis Cluster. Safe for threads and processes."""

    def __init__(self, settings: RedisSettings) -> None:
        """Connect, and refuse a server that may drop keys by itself.

        Raises TerminalSettingsError, TerminalError (refused by the server), TransientOnlineError (not reachable).
        """
        self._name, self._prefix, self._cluster = where(settings.url), settings.prefix, settings.cluster
        self._keep_seconds = 0 if settings.tombstone_days is None else settings.tombstone_days * 86_400
        self._client = connect(settings)

    def get_many(self, model_version: str, entity_type: str, entity_ids: Sequence[str]) -> list[OnlineVector | None]:
        """Give one answer per id, in order; None for an unknown or deleted entity.

        Raises TransientOnlineError, and TerminalError for a value that cannot be read.
        """
        if not entity_ids:
            return []
        keys = [self._key(model_version, entity_type, entity_id) for entity_id in entity_ids]
        with redis_errors(self._name):
            found = self._client.mget_nonatomic(keys) if self._cluster else self._client.mget(keys)
        return [None if value is None else self._online_vector(value) for value in found]

    def put_many(self, puts: Sequence[Put], now: datetime) -> list[PutResult]:
        """Put in one round trip; one result per put, in order. `now` (with a time zone) becomes `available_at`.

        Atomic per script: a call of up to 500 puts on a single server, the puts of one slot on a cluster. What a
        lost connection cut off is put again by a replay. Raises ValueError for a vector that does not fit its dtype
        and dim (nothing is put), TransientOnlineError, TerminalError.
        """
        clock = _CLOCK.pack(_microseconds(now))
        rows = [(self._key(p.model_version, p.entity_type, p.entity_id), *_position_and_value(p, clock)) for p in puts]
        scripts = list(self._scripts([key for key, _, _ in rows]))
        if not scripts:
            return []
        with redis_errors(self._name):
            pipeline = self._client.pipeline() if self._cluster else self._client.pipeline(transaction=False)
            for numbers in scripts:
                keys, rest = [rows[n][0] for n in numbers], [part for n in numbers for part in rows[n][1:]]
                # EVAL, not EVALSHA: a server that was restarted knows no script, and a cluster pipeline refuses it.
                pipeline.execute_command("EVAL", _PUT, len(keys), *keys, self._keep_seconds, *rest)
            answers = pipeline.execute()
        results: list[PutResult] = [_REFUSED] * len(rows)
        for numbers, answer in zip(scripts, answers, strict=True):
            for number, each in zip(numbers, answer, strict=True):
                results[number] = _result(each, now)
        return results

    def flip(self, alias: str, model_version: str) -> None:
        """Point an alias (`current`) at a model version, atomically."""
        with redis_errors(self._name):
            self._client.hset(f"{self._prefix}:aliases", alias, model_version)

    def resolve(self, alias: str) -> str | None:
        """Give the model version that an alias points at."""
        with redis_errors(self._name):
            found = self._client.hget(f"{self._prefix}:aliases", alias)
        return None if found is None else found.decode()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _key(self, model_version: str, entity_type: str, entity_id: str) -> bytes:
        tag = crc32(entity_id.encode()) % HASH_TAGS
        return f"{self._prefix}:{{{tag:x}}}:{model_version}:{entity_type}:{entity_id}".encode()

    def _scripts(self, keys: Sequence[bytes]) -> Iterator[list[int]]:
        """Deal row numbers to scripts: in order on one server, by slot on a cluster."""
        slots: dict[bytes, list[int]] = {}
        for number, key in enumerate(keys):
            slots.setdefault(key.split(b"}", 1)[0] if self._cluster else b"", []).append(number)
        for numbers in slots.values():
            for start in range(0, len(numbers), PUTS_PER_SCRIPT):
                yield numbers[start : start + PUTS_PER_SCRIPT]

    def _online_vector(self, value: bytes) -> OnlineVector | None:
        try:
            position, available_at, rest = _parts(value)
            if not rest:
                return None
            vector, dtype, dim = decode_value(rest)
        except (ValueError, IndexError, struct.error) as error:
            raise TerminalError(f"{self._name} holds a value that cannot be read: {error}") from error
        return OnlineVector(vector, dtype, dim, position, available_at)


_REFUSED: Final = PutResult(PutStatus.NEWER_PRESENT, None)


def _result(answer: int | bytes, now: datetime) -> PutResult:
    if isinstance(answer, bytes):
        return PutResult(PutStatus.ALREADY_THIS_POSITION, _parts(answer)[1])
    return PutResult(PutStatus.STORED, now) if answer == 1 else _REFUSED


def _position_and_value(put: Put, clock: bytes) -> tuple[bytes, bytes]:
    position = put.position.encode()
    if not 0 < len(position) <= _MOST_POSITION:
        raise ValueError(f"a position has 1 to {_MOST_POSITION} bytes, this one has {len(position)}")
    vector = b"" if put.vector is None else encode_value(put.vector, put.dtype, put.dim)
    return position, _HEAD.pack(LAYOUT, len(position)) + position + clock + vector


def _parts(value: bytes) -> tuple[str, datetime, bytes]:
    """Split a value (or its head) into position, available_at and the rest. Raises ValueError, struct.error."""
    layout, width = _HEAD.unpack_from(value)
    if layout != LAYOUT:
        raise ValueError(f"layout {layout}, this JUDE reads layout {LAYOUT}: rebuild the store under another prefix")
    end = _HEAD.size + width
    (microseconds,) = _CLOCK.unpack_from(value, end)
    available_at = _EPOCH + timedelta(microseconds=microseconds)
    return value[_HEAD.size : end].decode("ascii"), available_at, value[end + _CLOCK.size :]


def _microseconds(moment: datetime) -> int:
    if moment.tzinfo is None:
        raise ValueError("`now` needs a time zone: pass datetime.now(UTC)")
    return (moment - _EPOCH) // timedelta(microseconds=1)
