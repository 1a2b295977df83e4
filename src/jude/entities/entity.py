"""One entity type, as its YAML file says it; checked when it is made."""

from __future__ import annotations

import json
import re
from dataclasses import field
from functools import cached_property
from hashlib import blake2b
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic.dataclasses import dataclass

from jude.text import RENDER_VERSION

_CHECKED = ConfigDict(extra="forbid", strict=True)
_Name = Annotated[str, Field(min_length=1, pattern=r"^\S+$")]


@dataclass(frozen=True, config=_CHECKED)
class TextField:
    """One column of an entity's text; `list`: a set, whose order and repeats do not matter."""

    name: _Name
    label: str = ""
    kind: Literal["text", "list"] = "text"


@dataclass(frozen=True, config=_CHECKED)
class Entity:
    """One entity type: where its changes come from, and how its columns become text."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    topic: _Name
    key: _Name
    text_fields: tuple[TextField, ...]
    title_field: str
    prompt: str = ""
    volatile: tuple[str, ...] = field(default=())
    max_text_bytes: Annotated[int, Field(gt=0)] = 1_000_000
    updated_at: str | None = None

    @cached_property
    def render_version(self) -> str:
        """8 hex over everything that changes the rendering: equal version and equal columns, equal text."""
        fields = [[f.name, f.label, f.kind] for f in self.text_fields]
        made_of = json.dumps([RENDER_VERSION, fields, self.volatile])
        return blake2b(made_of.encode(), digest_size=4).hexdigest()

    @field_validator("volatile")
    @classmethod
    def _regexes_compile(cls, volatile: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in volatile:
            try:
                matches_nothing = re.compile(pattern).match("") is not None
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
            if matches_nothing:
                raise ValueError(f"{pattern!r} also matches the empty text: use + instead of *, or drop a ?")
        return volatile

    @model_validator(mode="after")
    def _text_fields_fit(self) -> Entity:
        names = [f.name for f in self.text_fields]
        if not names:
            raise ValueError("text_fields is empty: without a text column there is nothing to embed")
        if len(set(names)) < len(names):
            raise ValueError(f"text_fields names a column twice: {', '.join(names)}")
        if self.title_field not in names:
            raise ValueError(f"title_field {self.title_field!r} is not a text field; these are: {', '.join(names)}")
        return self
