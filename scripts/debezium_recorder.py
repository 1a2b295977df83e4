"""Turns row-level histories into the records that PostgreSQL -> Debezium -> Kafka writes for them.

In: transactions of row changes (`scripts.row_changes`). Out: records as the file source reads them, one dict each:
topic, partition, offset, timestamp (ms), headers (strings), key, value (None for a tombstone).

What it reproduces, because readers break on it: snapshot rows share one lsn and have no transaction; a delete's
`before` is invented except for the key, and a tombstone follows; a key change is delete, tombstone and create with one
lsn; a long text that an update leaves alone is not sent; transactions overlap in the write-ahead log, so lsns rise per
key only.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias
from zlib import crc32

from scripts import histories
from scripts.row_changes import Change, Row, Table, Transaction

Record: TypeAlias = dict[str, Any]

PLACEHOLDER: Final = "__debezium_unavailable_value"
HEARTBEAT_TOPIC: Final = "__debezium-heartbeat.jude"
TRANSACTION_TOPIC: Final = "jude.transaction"
_MOST_OVERLAPPING_TRANSACTIONS: Final = 3


def internships(shared: Path, seed: int = 7) -> Iterator[Record]:
    """The internship postings, topic `jude.public.internships`: 21,855 row changes, no control records."""
    return Recorder(seed).stream(histories.internships(shared))


def members(shared: Path, seed: int = 7) -> Iterator[Record]:
    """The member profiles, topic `jude.public.members`: 24,407 row changes, no control records."""
    return Recorder(seed).stream(histories.members(shared))


def tts(shared: Path, seed: int = 7) -> Iterator[Record]:
    """The TTS postings, topic `jude.public.jobs`: 1,618 row changes, some of them halves of key changes."""
    return Recorder(seed).stream(histories.tts(shared))


def companies(shared: Path, seed: int = 7) -> Iterator[Record]:
    """The remote companies, topic `jude.public.companies`: 5,392 row changes, no control records."""
    return Recorder(seed).stream(histories.companies(shared))


class Recorder:
    """Plays the part of the database's log, Debezium and Kafka. The same seed and input give the same records.

    `partitions` per topic; texts above `toast_bytes` are not sent again by an update that leaves them alone;
    a heartbeat follows every `heartbeat_every` records (0: none); transactions of at least `marked_from_changes`
    changes get BEGIN and END records (0: none).
    """

    def __init__(
        self,
        seed: int,
        *,
        partitions: int = 3,
        toast_bytes: int = 2000,
        heartbeat_every: int = 0,
        marked_from_changes: int = 0,
    ) -> None:
        self._rng = random.Random(seed)
        self._partitions = partitions
        self._toast_bytes = toast_bytes
        self._heartbeat_every = heartbeat_every
        self._marked_from_changes = marked_from_changes
        self._lsn = 23_560_000
        self._tx_id = 740
        self._last_commit_lsn: int | None = None
        self._offsets: Counter[tuple[str, int]] = Counter()
        self._rows: dict[tuple[str, str], Row] = {}
        self._since_heartbeat = 0

    def live_rows(self, table: Table) -> list[Row]:
        """The rows of a table as they now are, by key."""
        return [self._rows[name] for name in sorted(self._rows) if name[0] == table.name]

    def snapshot(self, rows: Sequence[tuple[Table, Row]], at_ms: int) -> Iterator[Record]:
        """Read rows as a snapshot does: `op=r`, one lsn and txId for all. Rows of one table must be neighbours."""
        self._tx_id += 1
        lsn = self._advance()
        for i, (table, row) in enumerate(rows):
            self._rows[table.name, row["id"]] = row
            mark = _snapshot_mark(
                first=i == 0,
                last=i == len(rows) - 1,
                first_of_table=i == 0 or rows[i - 1][0] is not table,
                last_of_table=i == len(rows) - 1 or rows[i + 1][0] is not table,
            )
            source = self._source(table, at_ms, lsn, self._tx_id, mark)
            yield self._change_record(table, row["id"], "r", after=row, source=source)

    def stream(self, transactions: Iterable[Transaction]) -> Iterator[Record]:
        """Record transactions in commit order. Raises: ValueError where a change does not fit the row it changes."""
        for overlapping in self._overlaps(transactions):
            lsns = self._interleave([len(transaction.changes) for transaction in overlapping])
            for transaction, change_lsns in zip(overlapping, lsns, strict=True):
                self._tx_id += 1
                commit_lsn = self._advance()
                yield from self._commit(transaction, change_lsns, commit_lsn)
                self._last_commit_lsn = commit_lsn
                yield from self._heartbeat(transaction.at_ms)

    def _overlaps(self, transactions: Iterable[Transaction]) -> Iterator[list[Transaction]]:
        """Groups of neighbouring transactions that could have run at once: no two touch the same key."""
        group: list[Transaction] = []
        touched: set[tuple[str, str]] = set()
        room = 1
        for transaction in transactions:
            names = set().union(*(change.keys for change in transaction.changes))
            if group and (len(group) == room or names & touched):
                yield group
                group, touched = [], set()
            if not group:
                room = self._rng.randint(1, _MOST_OVERLAPPING_TRANSACTIONS)
            group.append(transaction)
            touched |= names
        if group:
            yield group

    def _interleave(self, sizes: list[int]) -> list[list[int]]:
        """One lsn per change: rising within a transaction, mixed between transactions that ran at once."""
        turns = [i for i, size in enumerate(sizes) for _ in range(size)]
        if len(sizes) > 1:
            self._rng.shuffle(turns)
        lsns: list[list[int]] = [[] for _ in sizes]
        for i in turns:
            lsns[i].append(self._advance())
        return lsns

    def _commit(self, transaction: Transaction, lsns: list[int], commit_lsn: int) -> Iterator[Record]:
        marked = 0 < self._marked_from_changes <= len(transaction.changes)
        if marked:
            yield self._marker("BEGIN", transaction.at_ms, commit_lsn, None)
        counts: Counter[str] = Counter()
        for change, lsn in zip(transaction.changes, lsns, strict=True):
            for record in self._records_of(change, transaction.at_ms, lsn):
                if record["value"] is not None:
                    counts[change.table.name] += 1
                    record["value"]["transaction"] = {
                        "id": f"{self._tx_id}:{lsn}",
                        "total_order": counts.total(),
                        "data_collection_order": counts[change.table.name],
                    }
                yield record
        if marked:
            yield self._marker("END", transaction.at_ms, commit_lsn, counts)

    def _records_of(self, change: Change, at_ms: int, lsn: int) -> Iterator[Record]:
        """The one, two (delete) or three (key change) records of a change, without their transaction."""
        table, key = change.table, change.key
        old_key = change.old_key if change.old_key is not None else key
        previous = self._rows.pop((table.name, old_key), None)
        if (change.op == "insert") != (previous is None) or (change.op == "delete") != (change.row is None):
            raise ValueError(f"{change.op} of {table.name} {key!r} does not fit: the history is not complete")
        source = self._source(table, at_ms, lsn, self._tx_id, "false")
        after = None if change.row is None else self._sent(change.row, previous)
        if change.row is not None:
            self._rows[table.name, key] = change.row
        if change.op == "rekey":
            newkey = {"__debezium.newkey": _compact({"id": key})}
            yield from self._deletion(table, old_key, source, at_ms, newkey)
            oldkey = {"__debezium.oldkey": _compact({"id": old_key})}
            yield self._change_record(table, key, "c", after=after, source=source, headers=oldkey)
        elif after is None:
            yield from self._deletion(table, key, source, at_ms, {})
        else:
            yield self._change_record(table, key, change.op[0].replace("i", "c"), after=after, source=source)

    def _deletion(
        self, table: Table, key: str, source: Record, at_ms: int, headers: dict[str, str]
    ) -> Iterator[Record]:
        before = {**table.invented, "id": key}
        yield self._change_record(table, key, "d", before=before, source=source, headers=headers)
        yield self._record(table.topic, {"id": key}, None, {}, at_ms + 40)

    def _sent(self, row: Row, previous: Row | None) -> Row:
        """The row as the log carries it: long values that stayed as they were are missing there."""
        if previous is None:
            return row
        kept = (name for name, value in row.items() if self._is_long(value) and previous[name] == value)
        return {**row, **dict.fromkeys(kept, PLACEHOLDER)}

    def _is_long(self, value: object) -> bool:
        return isinstance(value, str) and len(value.encode()) > self._toast_bytes

    def _change_record(
        self,
        table: Table,
        key: str,
        op: str,
        *,
        source: Record,
        before: Row | None = None,
        after: Row | None = None,
        headers: dict[str, str] | None = None,
    ) -> Record:
        seen_ms = source["ts_ms"] + 20 + self._rng.randrange(100)
        value = {
            "before": before,
            "after": after,
            "source": source,
            "transaction": None,
            "op": op,
            "ts_ms": seen_ms,
            "ts_us": seen_ms * 1000,
            "ts_ns": seen_ms * 1_000_000,
        }
        return self._record(table.topic, {"id": key}, value, headers or {}, seen_ms + 5)

    def _source(self, table: Table, at_ms: int, lsn: int, tx_id: int, snapshot: str) -> Record:
        last = None if self._last_commit_lsn is None else str(self._last_commit_lsn)
        return {
            "version": "3.7.0.Final",
            "connector": "postgresql",
            "name": "jude",
            "ts_ms": at_ms,
            "snapshot": snapshot,
            "db": "jude",
            "sequence": _compact([last, str(lsn)]),
            "ts_us": at_ms * 1000,
            "ts_ns": at_ms * 1_000_000,
            "schema": table.schema,
            "table": table.name,
            "txId": tx_id,
            "lsn": lsn,
            "xmin": None,
        }

    def _marker(self, status: str, at_ms: int, commit_lsn: int, counts: Counter[str] | None) -> Record:
        tx = f"{self._tx_id}:{commit_lsn}"
        value = {
            "status": status,
            "id": tx,
            "event_count": None if counts is None else counts.total(),
            "data_collections": None
            if counts is None
            else [{"data_collection": f"public.{name}", "event_count": n} for name, n in counts.items()],
            "ts_ms": at_ms,
        }
        return self._record(TRANSACTION_TOPIC, {"id": tx}, value, {}, at_ms + 30)

    def _heartbeat(self, at_ms: int) -> Iterator[Record]:
        if 0 < self._heartbeat_every <= self._since_heartbeat:
            self._since_heartbeat = 0
            yield self._record(HEARTBEAT_TOPIC, {"serverName": "jude"}, {"ts_ms": at_ms + 500}, {}, at_ms + 505)

    def _record(self, topic: str, key: Record, value: Record | None, headers: dict[str, str], at_ms: int) -> Record:
        control = topic in (HEARTBEAT_TOPIC, TRANSACTION_TOPIC)
        partition = 0 if control else crc32(_compact(key).encode()) % self._partitions
        offset = self._offsets[topic, partition]
        self._offsets[topic, partition] += 1
        self._since_heartbeat += 1
        return {
            "topic": topic,
            "partition": partition,
            "offset": offset,
            "timestamp": at_ms,
            "headers": headers,
            "key": key,
            "value": value,
        }

    def _advance(self) -> int:
        self._lsn += 8 * self._rng.randrange(6, 60)
        return self._lsn


def _snapshot_mark(*, first: bool, last: bool, first_of_table: bool, last_of_table: bool) -> str:
    """Debezium's `source.snapshot`; where two would fit, the later word wins as it does there."""
    if last:
        return "last"
    if last_of_table:
        return "last_in_data_collection"
    if first:
        return "first"
    return "first_in_data_collection" if first_of_table else "true"


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
