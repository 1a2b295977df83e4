"""Hashes that say what changed: of one raw column, of all of them, of the rendered text.

The last two carry the entity's render version, so that a change of the rendering is seen as a change of every text.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from jude.entities import Entity

NO_VALUE: Final = "0" * 16
"""The digest of a column that is null."""


def text_hash(entity: Entity, text: str) -> str:
    """Hash a rendered text: `<render version, 8 hex>:<32 hex>`."""
    return f"{entity.render_version}:{_hex(text, 16)}"


def column_digest(raw: str | None) -> str:
    """Hash one raw text column to 16 hex; null differs from empty."""
    return NO_VALUE if raw is None else _hex(raw, 8)


def columns_hash(entity: Entity, digests: Mapping[str, str]) -> str:
    """Join the digests of all text columns in the entity's order: `<render version>:<16 hex>.<16 hex>...`.

    Raises KeyError when the digest of a text column is missing.
    """
    return f"{entity.render_version}:" + ".".join([digests[field.name] for field in entity.text_fields])


def split_columns_hash(entity: Entity, columns_hash: str) -> dict[str, str] | None:
    """Give back the digest of each text column; None if it was made under another render version."""
    version, _, joined = columns_hash.partition(":")
    if version != entity.render_version:
        return None
    return dict(zip((field.name for field in entity.text_fields), joined.split("."), strict=True))


def _hex(text: str, digest_bytes: int) -> str:
    # surrogatepass: a raw column may hold a lone surrogate that JSON escaped
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=digest_bytes).hexdigest()
