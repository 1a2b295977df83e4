"""The index of stored vectors says the same as reading the store."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from jude.errors import TransientTableError
from jude.tables import store_index, stored_vectors
from jude.tables.data_files import read_file
from jude.tables.native import NativeTables
from jude.tables.protocol import Tables
from jude.tables.store_index import StoreIndex, hash64
from tests.tables.conftest import BUCKETS
from tests.tables.rows import batch, vector, vectors


def hashes(*values: str) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, pa.string())])


def test_a_hash_does_not_depend_on_its_neighbours():
    alone = [hash64(hashes(v))[0] for v in ("", "a", "x" * 8, "x" * 9, "y" * 64, "ü")]
    together = hash64(hashes("", "a", "x" * 8, "x" * 9, "y" * 64, "ü"))
    assert alone == together.tolist()
    assert len(set(alone)) == 6


def test_a_hundred_thousand_inputs_do_not_collide():
    assert len(np.unique(hash64(hashes(*(f"v1:{i:064x}" for i in range(100_000)))))) == 100_000


def test_files_come_and_go(monkeypatch):
    monkeypatch.setattr(store_index, "MERGE_AT_ENTRIES", 3)
    index = StoreIndex()
    index.add_files([("f1", hashes("a", "b", "c", "d"))])
    index.add_file("f2", hashes("e", "a"))  # a rare double
    index.add_file("f3", hashes("g", "h"))  # the waiting entries are folded in
    assert index.files_of(["a", "e", "g", "zz"]) == {"f1": ["a"], "f2": ["a", "e"], "f3": ["g"]}
    index.remove_file("f2")
    index.remove_file("never there")
    assert index.files_of(["a", "e"]) == {"f1": ["a"]}
    index.remove_file("f1")
    assert index.files_of(["a", "b"]) == {}
    assert len(index) == 2


def test_twelve_bytes_per_vector():
    index = StoreIndex()
    index.add_files([("f1", hashes(*(f"{i:064x}" for i in range(50_000))))])
    assert index.bytes_held == 12 * 50_000


def found(tables: Tables, *asked: str) -> list[str]:
    return sorted(tables.stored("m1", asked)["input_hash"].to_pylist())


def test_a_compaction_by_somebody_else_is_followed(root: Path):
    tables = NativeTables(root, buckets=BUCKETS)
    for number in range(5):
        tables.append("embedding_store", vectors(vector(f"v{number}")), batch(number))
    assert found(tables, "v0", "v4") == ["v0", "v4"]
    store = DeltaTable(root / "embedding_store")
    store.optimize.compact()
    store.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
    assert found(tables, "v0", "v4", "none") == ["v0", "v4"]
    tables.append("embedding_store", vectors(vector("v9")), batch(9))
    assert found(tables, "v9", "v1") == ["v1", "v9"]


@pytest.mark.parametrize("known_before", [True, False])
def test_what_could_not_be_read_once_is_found_the_next_time(
    root: Path, monkeypatch: pytest.MonkeyPatch, known_before: bool
):
    tables, other = (NativeTables(root, buckets=BUCKETS) for _ in range(2))
    tables.append("embedding_store", vectors(vector("a")), batch(0))
    if known_before:
        assert found(tables, "a") == ["a"]
    other.append("embedding_store", vectors(vector("b")), batch(0, "s2"))
    other.append("embedding_store", vectors(vector("c")), batch(1, "s2"))
    reads = iter([None, OSError(errno.EIO, "the storage does not answer")])

    def read_but_once(*asked: Any) -> pa.Table:
        if (error := next(reads, None)) is not None:
            raise error
        return read_file(*asked)

    monkeypatch.setattr(stored_vectors, "read_file", read_but_once)
    with pytest.raises(TransientTableError):
        tables.stored("m1", ["a", "b", "c"])
    assert found(tables, "a", "b", "c") == ["a", "b", "c"]


def test_an_erased_vector_is_gone(root: Path):
    tables = NativeTables(root, buckets=BUCKETS)
    tables.append("embedding_store", vectors(vector("a"), vector("b")), batch(0))
    assert found(tables, "a", "b") == ["a", "b"]
    DeltaTable(root / "embedding_store").delete("input_hash = 'a'")
    assert found(tables, "a", "b") == ["b"]


def test_a_store_too_large_for_the_index_is_scanned(root: Path):
    tables = NativeTables(root, buckets=BUCKETS, index_vectors=1)
    tables.append("embedding_store", vectors(vector("a"), vector("b")), batch(0))
    tables.append("embedding_store", vectors(vector("c"), vector("a")), batch(1))
    assert found(tables, "a", "c", "none") == ["a", "c"]
    tables.append("embedding_store", vectors(vector("a"), vector("d")), batch(0, "s2"))
    assert DeltaTable(root / "embedding_store").to_pyarrow_table()["input_hash"].to_pylist().count("a") == 2


def test_only_the_row_group_of_a_hit_is_read_and_all_of_them_are_right(root: Path):
    tables = NativeTables(root, buckets=BUCKETS)
    many = [vector(f"v{i}", vector=i.to_bytes(8, "little")) for i in range(4_500)]
    tables.append("embedding_store", vectors(*many), batch(0))
    rows = tables.stored("m1", ["v0", "v2000", "v4499"]).to_pylist()
    assert {r["input_hash"]: int.from_bytes(r["vector"], "little") for r in rows} == {
        "v0": 0,
        "v2000": 2000,
        "v4499": 4499,
    }
