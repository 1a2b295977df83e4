"""A model version means one thing from its first vector on."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from jude.encoder import EncoderSpec, manifest_of, open_tokeniser
from jude.errors import TerminalTableError
from jude.release import register
from jude.tables.native import NativeTables
from tests.memory import MemoryTables
from tests.stories import NOW

SPEC = EncoderSpec(kind="hashing", prompts={"job": ""}, render_versions={"job": "r1"})
LATER = NOW + timedelta(hours=1)


def version(spec: EncoderSpec) -> str:
    return open_tokeniser(spec).model_version


def rows(tables: MemoryTables | NativeTables) -> list[tuple]:
    return [(r["model_version"], r["state"], r["alias"]) for r in tables.model_versions().to_pylist()]


def test_the_first_version_serves_and_a_second_start_adds_nothing():
    tables = MemoryTables()
    register(tables, version(SPEC), manifest_of(SPEC), NOW)
    register(tables, version(SPEC), manifest_of(SPEC), LATER)
    assert rows(tables) == [(version(SPEC), "current", "current")]


def test_a_later_version_does_not_serve_by_itself():
    tables, other = MemoryTables(), replace(SPEC, revision="2")
    register(tables, version(SPEC), manifest_of(SPEC), NOW)
    register(tables, version(other), manifest_of(other), LATER)
    assert version(other) != version(SPEC)
    assert rows(tables)[1] == (version(other), "building", None)


def test_a_promoted_version_waits_until_a_stream_uses_it():
    tables, other = MemoryTables(), replace(SPEC, revision="2")
    register(tables, version(other), manifest_of(other), NOW, may_serve=False)
    assert rows(tables) == [(version(other), "building", None)]
    register(tables, version(SPEC), manifest_of(SPEC), LATER)  # the stream's own, which is the first to serve
    register(tables, version(other), manifest_of(other), LATER)
    assert rows(tables)[1:] == [(version(SPEC), "current", "current")]


def test_a_promoted_version_serves_where_no_other_does():
    tables = MemoryTables()
    register(tables, version(SPEC), manifest_of(SPEC), NOW, may_serve=False)
    register(tables, version(SPEC), manifest_of(SPEC), LATER)
    register(tables, version(SPEC), manifest_of(SPEC), LATER + timedelta(hours=1))
    assert rows(tables) == [(version(SPEC), "building", None), (version(SPEC), "current", "current")]


def test_a_new_entity_type_joins_the_version():
    tables = MemoryTables()
    both = replace(SPEC, prompts={"job": "", "company": ""}, render_versions={"job": "r1", "company": "r7"})
    register(tables, version(SPEC), manifest_of(SPEC), NOW)
    register(tables, version(both), manifest_of(both), LATER)
    assert version(both) == version(SPEC)
    newest = json.loads(tables.model_versions()["manifest"].to_pylist()[-1])
    assert newest["render_versions"] == {"job": "r1", "company": "r7"}
    register(tables, version(SPEC), manifest_of(SPEC), LATER)  # a stream of one entity type forgets no other
    assert tables.model_versions().num_rows == 2


@pytest.mark.parametrize("changed", [{"prompts": {"job": "Find: "}}, {"render_versions": {"job": "r2"}}])
def test_a_changed_prompt_or_rendering_is_refused(changed: dict):
    tables = MemoryTables()
    register(tables, version(SPEC), manifest_of(SPEC), NOW)
    with pytest.raises(TerminalTableError, match=r"of job .* encoder\.revision"):
        register(tables, version(SPEC), manifest_of(replace(SPEC, **changed)), LATER)


def test_the_tables_keep_it(tmp_path: Path):
    tables = NativeTables(tmp_path, buckets=2)
    tables.ensure()
    for revision in ("", "", "2"):
        spec = replace(SPEC, revision=revision)
        register(tables, version(spec), manifest_of(spec), NOW)
    assert rows(tables) == [
        (version(SPEC), "current", "current"),
        (version(replace(SPEC, revision="2")), "building", None),
    ]
