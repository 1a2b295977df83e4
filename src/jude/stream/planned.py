"""Plan a batch on the driver: two reads, no shuffle. `executors.py` does the same on the cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from jude.changes.decode import Truncate, decode
from jude.errors import TerminalSourceError
from jude.planning import Key, add_inputs, keys_of, keys_to_restore, plan_batch
from jude.planning.rows import CHANGES, FIELDS, KNOWN
from jude.stream.pipeline import Pipeline
from jude.tables.protocol import TextKey


@dataclass(frozen=True)
class PlannedBatch:
    """A planned batch, on the driver."""

    planned: pa.Table  # PLANNED, with inputs
    known: pa.Table  # KNOWN, as the plan saw it
    control: int  # control records, dropped before events_in
    raw: Callable[[pa.Table], pa.Table]  # planned rows -> their RECORDS, in order


def plan_on_driver(records: pa.Table, pipeline: Pipeline) -> PlannedBatch:
    """Decode, load known state, plan and tokenise a batch that fits the driver. Columns in: RECORDS."""
    decoded = decode(records, pipeline.entities, pipeline.source_epoch, pipeline.clock())
    deletes = truncate_deletes(decoded.truncates, decoded.changes, pipeline)
    changes = pa.concat_tables([decoded.changes, deletes])
    known = load_known(keys_of(changes), keys_to_restore(changes), pipeline)
    planned = add_inputs(plan_batch(changes, known, pipeline.entities), pipeline.tokeniser)
    return PlannedBatch(planned, known, decoded.control, lambda rows: records.take(rows["record"]))


def load_known(keys: Iterable[Key], restore: Iterable[Key], pipeline: Pipeline) -> pa.Table:
    """Read KNOWN for these keys, with the raw fields of those whose placeholders may need them."""
    known = pipeline.tables.known_state(pipeline.model_version, list(keys))
    wanted = set(restore)
    if not wanted or not known.num_rows:
        return known
    rows = list(zip(*(known[n].to_pylist() for n in ("entity_type", "entity_id", "text_position")), strict=True))
    held = pipeline.tables.fields_of([TextKey(*row) for row in rows if row[2] and Key(*row[:2]) in wanted])
    fields = [list(held.get(TextKey(*row), {}).items()) if Key(*row[:2]) in wanted else None for row in rows]
    return known.set_column(KNOWN.get_field_index("fields"), KNOWN.field("fields"), pa.array(fields, FIELDS))


def stop_at_missing_fields(planned: pa.Table) -> None:
    """Stop where a text column is gone: every later record would lack it, too. Columns in: PLANNED.

    Raises TerminalSourceError; nothing of the batch was written.
    """
    lacking = planned.filter(pc.equal(planned["error_class"], "missing_field"))
    if not lacking.num_rows:
        return
    said = sorted(set(zip(lacking["entity_type"].to_pylist(), lacking["error"].to_pylist(), strict=True)))
    raise TerminalSourceError(
        f"A text column is gone from the source ({lacking.num_rows} records of this batch): "
        f"{'; '.join(f'{entity_type}: {error}' for entity_type, error in said)}. Bring the column back; or change "
        "text_fields of the entity (a new model version); or set stream.missing_field to quarantine: the other "
        "entities go on, and these records wait for a replay."
    )


def truncate_deletes(truncates: Sequence[Truncate], changes: pa.Table, pipeline: Pipeline) -> pa.Table:
    """Turn each truncate into a delete of every key that may live, or stop: that is for the operator to decide.

    Columns in and out: CHANGES (in: the batch's; only its keys are read).
    """
    if truncates and pipeline.truncate != "delete_all":
        names = ", ".join(sorted({t.entity_type for t in truncates}))
        raise TerminalSourceError(
            f"The source table of {names} was truncated. Set stream.truncate to delete_all to delete every "
            "embedding of it, or skip the record by hand, then start again."
        )
    return pa.concat_tables([CHANGES.empty_table(), *(_deletes(t, changes, pipeline) for t in truncates)])


def _deletes(truncate: Truncate, changes: pa.Table, pipeline: Pipeline) -> pa.Table:
    live = set(pipeline.tables.live_keys(pipeline.model_version, truncate.entity_type))
    same_type = changes.filter(pc.equal(changes["entity_type"], truncate.entity_type))
    keys = sorted(live | keys_of(same_type))
    same = {"record": truncate.record, "op": "d", "position": truncate.position, "offset": -1}
    return pa.Table.from_pylist([{**key._asdict(), **same} for key in keys], schema=CHANGES)
