"""`models`: where trained models are kept, and under which name."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, ConfigDict, Field, ValidationInfo
from pydantic.dataclasses import dataclass

from jude.settings.paths import absolute_location

_CHECKED: Final = ConfigDict(extra="forbid", strict=True)
_MANAGED: Final = ("databricks", "databricks-uc")


def _store(store: str, info: ValidationInfo) -> str:
    return store if store in _MANAGED else absolute_location(store, info)


@dataclass(frozen=True, config=_CHECKED)
class RegistrySettings:
    """`models`: an MLflow store and the registered model in it."""

    store: Annotated[str, AfterValidator(_store)]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
