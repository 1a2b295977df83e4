"""Plan a large batch on the executors: decode per partition, then the same `plan_batch` per bucket of keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812 - the name that every Spark user knows
from pyspark.sql.pandas.types import from_arrow_schema

from jude.changes.decode import Truncate, decode
from jude.encoder import EncoderSpec, open_tokeniser
from jude.entities import Entities
from jude.planning import Key, add_inputs, key_roots, keys_of, plan_batch
from jude.planning.rows import CHANGES, KNOWN, PLANNED, RECORDS
from jude.stream.pipeline import Pipeline
from jude.stream.planned import PlannedBatch, load_known, truncate_deletes
from jude.tables.buckets import bucket

_BUCKET = pa.field("bucket", pa.int32())
_KEY_COLUMNS = ("entity_type", "entity_id", "old_entity_id", "unavailable")


def plan_in_executors(batch: DataFrame, pipeline: Pipeline, spec: EncoderSpec, buckets: int) -> PlannedBatch:
    """Plan a batch that is too large for one process. Columns in: RECORDS.

    What comes back to the driver is the plan, bounded by the trigger's rows. Records of quarantined rows are read
    again, from the cache.
    """
    spark = batch.sparkSession
    decode_rows = partial(_decode_rows, pipeline.entities, pipeline.source_epoch, pipeline.clock())
    decoded = batch.mapInArrow(decode_rows, from_arrow_schema(CHANGES)).cache()
    try:
        is_change = ~F.coalesce("op", F.lit("")).isin("t", "m") | F.col("error_class").isNotNull()
        taken_out = decoded.where(~is_change).toArrow()
        changes = decoded.where(is_change)
        deletes = _truncate_deletes(taken_out, changes, pipeline)
        if deletes.num_rows:
            changes = changes.unionByName(spark.createDataFrame(deletes))
        keys = _whole(changes.select(*_KEY_COLUMNS).toArrow())
        known = load_known(keys_of(keys), keys_of(keys.filter(pc.is_valid(keys["unavailable"]))), pipeline)
        deal = partial(_deal, _roots(keys), buckets)
        dealt_known = spark.createDataFrame(_table(deal(known.to_batches()), KNOWN.append(_BUCKET)))
        dealt = changes.mapInArrow(deal, from_arrow_schema(CHANGES.append(_BUCKET)))
        plan = partial(_plan_bucket, pipeline.entities, spec)
        cogrouped = dealt.groupBy("bucket").cogroup(dealt_known.groupBy("bucket"))
        planned = cogrouped.applyInArrow(plan, from_arrow_schema(PLANNED)).toArrow().cast(PLANNED)
    finally:
        decoded.unpersist()
    control = pc.sum(pc.equal(taken_out["op"], "m")).as_py() or 0
    return PlannedBatch(planned, known, control, partial(_records_of, batch))


def _decode_rows(
    entities: Entities, source_epoch: int, ingested_at: datetime, batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """Decode; control records and truncates leave as rows of op m and t, for the driver to count and judge."""
    for batch in batches:
        decoded = decode(pa.Table.from_batches([batch]).cast(RECORDS), entities, source_epoch, ingested_at)
        special = [{"record": 0, "op": "m"}] * decoded.control
        special += [{"op": "t", **truncate._asdict()} for truncate in decoded.truncates]
        yield from decoded.changes.to_batches()
        yield from pa.Table.from_pylist(special, schema=CHANGES).to_batches()


def _truncate_deletes(taken_out: pa.Table, changes: DataFrame, pipeline: Pipeline) -> pa.Table:
    rows = taken_out.filter(pc.equal(taken_out["op"], "t")).select(Truncate._fields).to_pylist()
    keys = _whole(changes.select(*_KEY_COLUMNS).toArrow()) if rows else CHANGES.empty_table()
    return truncate_deletes([Truncate(**row) for row in rows], keys, pipeline)


def _table(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    """Lay batches together; never a table of no chunks, which Spark cannot read."""
    return pa.concat_tables([schema.empty_table(), pa.Table.from_batches(batches, schema)])


def _whole(keys: pa.Table) -> pa.Table:
    """Widen key columns to CHANGES: the planner's key functions read those."""
    return pa.Table.from_pylist(keys.to_pylist(), schema=CHANGES)


def _roots(keys: pa.Table) -> Mapping[Key, Key]:
    renamed = keys.filter(pc.is_valid(keys["old_entity_id"])).select(_KEY_COLUMNS[:3]).to_pylist()
    pairs = ((Key(r["entity_type"], r["entity_id"]), Key(r["entity_type"], r["old_entity_id"])) for r in renamed)
    return key_roots(pairs)


def _deal(roots: Mapping[Key, Key], buckets: int, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Deal rows out by the root of their key's chain, so that a chain of key changes is folded in one place."""
    for batch in batches:
        keys = zip(batch["entity_type"].to_pylist(), batch["entity_id"].to_pylist(), strict=True)
        numbers = [bucket(*roots.get(Key(t or "", i or ""), Key(t or "", i or "")), buckets) for t, i in keys]
        yield batch.append_column(_BUCKET, pa.array(numbers, pa.int32()))


def _plan_bucket(entities: Entities, spec: EncoderSpec, changes: pa.Table, known: pa.Table) -> pa.Table:
    if not changes.num_rows:
        return PLANNED.empty_table()
    changes, known = changes.drop_columns("bucket").cast(CHANGES), known.drop_columns("bucket").cast(KNOWN)
    return add_inputs(plan_batch(changes, known, entities), open_tokeniser(spec))


def _records_of(batch: DataFrame, rows: pa.Table) -> pa.Table:
    """The raw records of planned rows, in their order."""
    place = ["topic", "partition", "offset"]
    wanted = batch.sparkSession.createDataFrame(rows.select(place)).distinct()
    found = batch.join(F.broadcast(wanted), place, "left_semi").toArrow().select(RECORDS.names).cast(RECORDS)
    by_place = {
        tuple(r[n] for n in place): r for r in found.select(place).append_column("row", _numbers(found)).to_pylist()
    }
    order = [by_place[tuple(r[n] for n in place)]["row"] for r in rows.select(place).to_pylist()]
    return found.take(pa.array(order))


def _numbers(table: pa.Table) -> pa.Array:
    return pa.array(range(table.num_rows))
