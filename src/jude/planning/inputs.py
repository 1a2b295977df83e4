"""From planned texts to model inputs: the last look at sameness before money is spent."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from jude.encoder.protocol import ModelInput, Tokeniser
from jude.planning.state import Reason


def add_inputs(planned: pa.Table, tokeniser: Tokeniser) -> pa.Table:
    """Tokenise the texts of `changed` rows.

    Columns in and out: PLANNED; fills input_hash, token_ids, n_tokens, truncated, and sets level `input` where the
    model reads the same as before the batch (an edit past the truncation point).
    """
    made: list[ModelInput | None] = [None] * planned.num_rows
    by_type: dict[str, list[int]] = {}
    changed = pc.equal(planned["reason"], Reason.CHANGED.value).to_pylist()
    for row, entity_type in enumerate(planned["entity_type"].to_pylist()):
        if changed[row]:
            by_type.setdefault(entity_type, []).append(row)
    texts = planned["text"]
    for entity_type, rows in by_type.items():
        inputs = tokeniser.inputs(entity_type, texts.take(pa.array(rows)).to_pylist())
        for row, model_input in zip(rows, inputs, strict=True):
            made[row] = model_input
    return _with_inputs(planned, made)


def _with_inputs(planned: pa.Table, made: list[ModelInput | None]) -> pa.Table:
    known = planned["known_input_hash"].to_pylist()
    level = planned["level"].to_pylist()
    for row, model_input in enumerate(made):
        if model_input is not None and model_input.input_hash == known[row]:
            level[row] = "input"
    columns = {
        "level": level,
        "input_hash": [m and m.input_hash for m in made],
        "token_ids": [m and m.token_ids for m in made],
        "n_tokens": [m and len(m.token_ids) for m in made],
        "truncated": [m and m.truncated for m in made],
    }
    for name, values in columns.items():
        index = planned.schema.get_field_index(name)
        field = planned.schema.field(index)
        planned = planned.set_column(index, field, pa.array(values, field.type))
    return planned
