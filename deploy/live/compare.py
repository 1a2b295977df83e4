"""Row by row: PostgreSQL == embeddings == Redis == what a consumer of the topic holds. Slow, and meant to be."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
import psycopg
from psycopg import sql

from jude.entities import Entities, Entity, load_entities
from jude.errors import JudeError, TerminalTableError
from jude.observe.ledger import BatchCounts
from jude.online import OnlineStore, SqliteStore, open_online
from jude.online.rebuild import verify
from jude.output.consumer import follow, open_consumer
from jude.settings import Settings
from jude.tables.reading import current_pointers, model_of_alias, read
from jude.text import render, text_hash

_SHOWN: Final = 3
_POLL_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Compared:
    """How many rows agree, and a sentence for every kind of difference."""

    entities: int
    differences: tuple[str, ...]


def wait_until_equal(
    database_url: str, settings: Settings, seconds: float, look: Callable[[], None] = lambda: None
) -> Compared:
    """Compare until nothing differs; give the last comparison when that takes too long. `look` runs in between."""
    end = time.monotonic() + seconds
    while True:
        try:
            compared = _first_half(database_url, settings)
            if not compared.differences:
                compared = compare(database_url, settings)
        except (JudeError, psycopg.OperationalError) as error:  # no tables yet, a service that is down
            compared = Compared(0, (f"{type(error).__name__}: {error}",))
        if not compared.differences or time.monotonic() > end:
            return compared
        look()
        time.sleep(_POLL_SECONDS)


def compare(database_url: str, settings: Settings) -> Compared:
    """Compare everything once."""
    root, version = _place(settings)
    first = _first_half(database_url, settings)
    differences = [*first.differences, *_inner(root, version)]
    online = open_online(settings.online)
    try:
        differences += _store("online", online, root, version)
    finally:
        online.close()
    if settings.output.kind != "none":
        differences += _topic(settings, root, version)
    return Compared(first.entities, tuple(differences))


def _first_half(database_url: str, settings: Settings) -> Compared:
    """The database against the pointers: ids, and texts by their hash."""
    root, version = _place(settings)
    entities = load_entities(settings.entities.folder)
    wanted = _texts_of_database(database_url, entities)
    pointers = current_pointers(root, None, version, "live")
    columns = (pointers[name].to_pylist() for name in ("entity_type", "entity_id", "text_hash"))
    found = {(entity_type, entity_id): hashed for entity_type, entity_id, hashed in zip(*columns, strict=True)}
    lost = [key for key, hashed in wanted.items() if hashed is not None and key not in found]
    stale = [key for key, hashed in wanted.items() if hashed is not None and found.get(key, hashed) != hashed]
    extra = [key for key in found if key not in wanted]
    kinds = {"not embedded": lost, "embedded with an older text": stale, "deleted, but live": extra}
    said = [f"{len(keys)} {kind}: {sorted(keys)[:_SHOWN]}" for kind, keys in kinds.items() if keys]
    return Compared(len(wanted), tuple(said))


def _texts_of_database(url: str, entities: Entities) -> dict[tuple[str, str], str | None]:
    """Hash the text of every row; None for one whose text is empty (it is quarantined, never embedded)."""
    texts: dict[tuple[str, str], str | None] = {}
    with psycopg.connect(url) as connection:
        for entity in entities.values():
            names = [sql.Identifier(name) for name in (entity.key, *(f.name for f in entity.text_fields))]
            table = sql.Identifier(*entity.topic.split(".")[1:])
            rows = connection.execute(sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(names), table)).fetchall()
            for key, *values in rows:
                texts[entity.name, str(key)] = _hash_of(entity, values)
    return texts


def _hash_of(entity: Entity, values: list[Any]) -> str | None:
    raw = [orjson.dumps(v).decode() if isinstance(v, list) else v for v in values]
    text = render(entity, dict(zip((f.name for f in entity.text_fields), raw, strict=True)))
    return text_hash(entity, text) if text else None


def _inner(root: str, version: str) -> list[str]:
    """The ledger's identity, and no natural key twice."""
    said = []
    hashes = Counter(read(root, "embedding_store", ["model_version", "input_hash"]).column("input_hash").to_pylist())
    if doubles := [h for h, count in hashes.items() if count > 1]:
        said.append(f"{len(doubles)} vectors are stored twice: {doubles[:_SHOWN]}")
    key = ["entity_type", "entity_id", "model_version", "position"]
    history = Counter(tuple(row.values()) for row in read(root, "embedding_history", key).to_pylist())
    if doubles := [k for k, count in history.items() if count > 1]:
        said.append(f"{len(doubles)} pointers stand twice in embedding_history: {doubles[:_SHOWN]}")
    inferences = 0
    for row in read(root, "ledger").to_pylist():
        BatchCounts(**{name: row[name] for name in BatchCounts.__dataclass_fields__}).check()
        inferences += row["inferences"]
    if inferences != len(hashes):
        said.append(f"the ledger counts {inferences} inferences, {len(hashes)} vectors are stored")
    return said


def _store(name: str, store: OnlineStore, root: str, version: str) -> list[str]:
    found = verify(store, root, version)
    return [f"{name}: {found}"] if found.wrong or found.newer or found.without_vector else []


def _topic(settings: Settings, root: str, version: str) -> list[str]:
    """Read the whole topic by a consumer that never read it before."""
    copy = Path(settings.tables.root or ".") / f"copy-{uuid.uuid4().hex}.sqlite"
    store = SqliteStore(copy)
    output = settings.output
    consumer = open_consumer(output.bootstrap_servers, f"compare-{uuid.uuid4().hex}", output.topic)
    try:
        follow(consumer, store, at_the_end(consumer))
        return _store("topic", store, root, version)
    finally:
        consumer.close()
        store.close()
        for file in copy.parent.glob(f"{copy.name}*"):
            file.unlink()


def at_the_end(consumer: Any) -> Callable[[], bool]:  # noqa: ANN401 - of C code
    """Tell a consumer to stop once it stands at the end of every partition."""

    def reached() -> bool:
        assigned = consumer.assignment()
        if not assigned:
            return False
        read_to = {p.partition: max(p.offset, 0) for p in consumer.position(assigned)}
        known = {p.partition: max(p.offset, 0) for p in consumer.committed(assigned, timeout=5)}
        ends = {p.partition: consumer.get_watermark_offsets(p, timeout=5)[1] for p in assigned}
        return all(max(read_to[p], known[p]) >= end for p, end in ends.items())

    return reached


def _place(settings: Settings) -> tuple[str, str]:
    root = settings.tables.root
    assert root is not None, "the comparison reads tables in a folder"
    version = model_of_alias(root)
    if version is None:
        raise TerminalTableError(f"{root} has no current model version: the stream has not opened its tables yet.")
    return root, version
