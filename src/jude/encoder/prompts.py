"""The words that a model reads before an entity's text."""

from __future__ import annotations

from collections.abc import Mapping

from jude.errors import TerminalSettingsError


def prompt_of(prompts: Mapping[str, str], entity_type: str) -> str:
    """Give the prompt of an entity type; a model without any prompts reads every text bare.

    Raises TerminalSettingsError: a version that never heard of an entity type must not encode it.
    """
    if not prompts:
        return ""
    if entity_type not in prompts:
        raise TerminalSettingsError(
            f"This model version has no prompt for the entity type {entity_type!r}; "
            f"it knows {', '.join(sorted(prompts))}. "
            "Add conf/entities/<name>.yml for it: that makes a new model version."
        )
    return prompts[entity_type]
