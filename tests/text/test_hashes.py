"""Equal text, equal hash; another word, another rendering: another hash."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jude.entities import Entity, TextField
from jude.text import column_digest, columns_hash, render, split_columns_hash, text_hash

JOB = Entity(
    name="job",
    topic="jobs",
    key="id",
    text_fields=(TextField("title", "Title"), TextField("description")),
    title_field="title",
)
RELABELLED = replace(JOB, text_fields=(TextField("title", "Job title"), TextField("description")))


def hash_of(title: str, description: str | None) -> str:
    return text_hash(JOB, render(JOB, {"title": title, "description": description}))


def test_cosmetic_edits_keep_the_hash() -> None:
    clean = hash_of("Cook", "We serve R&D.\nDaily.")

    assert hash_of(" Cook\u200b", "We  serve R&D.\r\n\r\nDaily.") == clean
    assert hash_of("Ｃook", "<p>We serve <i>R&amp;D</i>.</p><p>Daily.</p>") == clean


def test_a_real_edit_changes_the_hash() -> None:
    hashes = [
        hash_of("Cook", "We serve."),
        hash_of("Cooks", "We serve."),
        hash_of("Cook", "We served."),
        hash_of("Cook", None),
    ]

    assert len(set(hashes)) == 4


def test_the_hash_carries_the_render_version() -> None:
    version, _, digest = hash_of("Cook", None).partition(":")

    assert version == JOB.render_version
    assert len(version) == 8
    assert len(digest) == 32


def test_the_digest_of_a_column_is_fixed_for_ever() -> None:
    """Stored digests are compared with new ones for years: b2sum -l 64 of the UTF-8 bytes."""
    assert column_digest("Cook") == "1675fe993b41d55f"
    assert column_digest("") == "e4a6a0577479b2b4"
    assert column_digest(None) == "0" * 16
    assert column_digest("\ud800") != column_digest("\ud801")


def test_columns_hash_gives_its_digests_back() -> None:
    digests = {"description": column_digest(None), "title": column_digest("Cook"), "salary": column_digest("9")}

    joined = columns_hash(JOB, digests)

    assert joined == f"{JOB.render_version}:{column_digest('Cook')}.{'0' * 16}"
    assert split_columns_hash(JOB, joined) == {"title": column_digest("Cook"), "description": "0" * 16}


def test_digests_of_another_render_version_are_not_compared() -> None:
    joined = columns_hash(JOB, {"title": column_digest("Cook"), "description": column_digest(None)})

    assert split_columns_hash(RELABELLED, joined) is None


def test_a_column_without_digest_is_an_error() -> None:
    with pytest.raises(KeyError, match="description"):
        columns_hash(JOB, {"title": column_digest("Cook")})
