"""The pairs that training is timed on: profiles beside postings, titles beside occupations, texts of one length."""

from __future__ import annotations

import gzip
from typing import Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import PROJECT
from jude.entities import Entity, load_entities
from jude.text import render
from jude.training.data.pairs import checked

SAMPLE: Final = PROJECT / "data" / "sample"
TITLES: Final = PROJECT / "data" / "training" / "pairs.parquet"
WORDS: Final = ("nurse", "data", "work", "team", "city")  # one token each


def postings_and_profiles(count: int) -> pa.Table:
    """Real profiles of members, each beside a real posting, rendered as the pipeline renders them.

    Which posting stands beside which profile is drawn with a seed: speed does not depend on it.
    """
    profiles, postings = (_texts(load_entities(PROJECT / "conf/entities")[kind]) for kind in ("member", "job"))
    random = np.random.default_rng(0)
    drawn = [np.resize(random.permutation(len(texts)), count) for texts in (profiles, postings)]
    return _pairs([profiles[n] for n in drawn[0]], [postings[n] for n in drawn[1]])


def titles(count: int) -> pa.Table:
    """Real titles and what they are titles of: what make train-demo trains on."""
    pairs = pq.read_table(TITLES)
    return pairs.take(np.random.default_rng(0).permutation(pairs.num_rows)[:count])


def constant_length(count: int, tokens: int = 128) -> pa.Table:
    """Different texts of one length: there is no padding to be saved, and nothing comes twice."""
    words = np.random.default_rng(0).choice(WORDS, (2, count, tokens - 2))
    queries, documents = ([" ".join(text) for text in side] for side in words)
    return _pairs(queries, documents)


def _texts(entity: Entity) -> list[str]:
    """Every distinct text that the rows of an entity ever had, in the order of the stream."""
    found: dict[str, None] = {}
    for file in sorted(SAMPLE.glob("*.jsonl.gz")):
        with gzip.open(file) as lines:
            for line in lines:
                record = orjson.loads(line)
                row = (record["value"] or {}).get("after") if record["topic"] == entity.topic else None
                if row and "__debezium_unavailable_value" not in row.values():
                    found[render(entity, row)] = None
    return [text for text in found if text]


def _pairs(queries: list[str], documents: list[str]) -> pa.Table:
    columns = {"query_text": queries, "query_type": ["member"] * len(queries), "document_text": documents}
    columns |= {"document_type": ["job"] * len(queries)}
    return checked(pa.table({**columns, "label": pa.array([1.0] * len(queries), pa.float32())}))
