"""A key lives in the same bucket whoever asks."""

from __future__ import annotations

import pytest

from jude.errors import TerminalSettingsError
from jude.tables.buckets import TEST_VECTORS, bucket, bucket_column, hash32, require_power_of_two

ODD = ["", "j1", "Zoë 🙂", "\0", "a\0b", "x" * 10_000, "e\u0301", "é", "١٢", "' OR 1=1", "\ud7ff\ue000", " "]


@pytest.mark.parametrize(("entity_type", "entity_id", "expected"), TEST_VECTORS)
def test_the_hash_never_changes(entity_type: str, entity_id: str, expected: int):
    assert hash32(entity_type, entity_id) == expected


def test_doubling_the_buckets_splits_each_in_two():
    for entity_id in ODD:
        assert bucket("job", entity_id, 16) % 8 == bucket("job", entity_id, 8)


def test_buckets_fill_evenly():
    filled = [0] * 16
    for i in range(16_000):
        filled[bucket("job", f"job-{i}", 16)] += 1
    assert min(filled) > 850
    assert max(filled) < 1150


@pytest.mark.parametrize("wrong", [0, -4, 3, 12, 131_072])
def test_other_numbers_than_powers_of_two_are_refused(wrong: int):
    with pytest.raises(TerminalSettingsError, match="power of two"):
        require_power_of_two(wrong)


@pytest.mark.spark
def test_spark_gives_the_same_buckets(spark):
    from pyspark.sql.functions import col

    rows = [(kind, entity_id) for kind in ("job", "", "Bewerbung ü") for entity_id in ODD]
    keys = spark.createDataFrame(rows, "kind string, id string")
    for buckets in (1, 8, 4096):
        found = keys.select(bucket_column(col("kind"), col("id"), buckets)).collect()
        assert [r[0] for r in found] == [bucket(kind, entity_id, buckets) for kind, entity_id in rows]
