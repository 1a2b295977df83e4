"""Trained models by number and alias, in MLflow: a folder with an SQLite file, a server, or Unity Catalog."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from jude.errors import TerminalEnvironmentError, TerminalSettingsError

CHALLENGER: Final = "challenger"
CHAMPION: Final = "champion"
FORMER: Final = "former"
"""Who was champion before."""

SCHEME: Final = "models:/"
_MANAGED: Final = "databricks"
_DATABASE: Final = "mlflow.db"
MODEL_FOLDER: Final = "model"  # in the artifacts of a pyfunc: the merged folder
ADAPTER_FOLDER: Final = "adapter"


@dataclass(frozen=True, slots=True)
class Registered:
    """One version of the registered model. Tags say what it is made of and which gates it passed."""

    name: str
    number: int
    aliases: tuple[str, ...]
    tags: Mapping[str, str]
    run_id: str | None
    made_at: datetime

    @property
    def uri(self) -> str:
        """Name it for good: an alias may point elsewhere tomorrow."""
        return f"{SCHEME}{self.name}/{self.number}"


class Registry:
    """The versions of one registered model."""

    def __init__(self, store: str, name: str, *, make: bool = True) -> None:
        """`store`: a folder, or an MLflow URI. `make`: a folder that holds nothing yet becomes a registry.

        Raises TerminalEnvironmentError without MLflow, and, as every method does, with what the store answers.
        """
        mlflow = _mlflow()
        self.name, self._folder = name, _local(store)
        self._there = make or self._folder is None or (self._folder / _DATABASE).exists()
        if self._folder is not None and make:
            _make(self._folder)
        self.uri = f"sqlite:///{self._folder / _DATABASE}" if self._folder is not None else store
        self._managed = store.startswith(_MANAGED)
        self._tracking = _MANAGED if self._managed else self.uri  # Unity Catalog keeps models, the workspace keeps runs
        if self._there:
            with self.asked():
                self._client = mlflow.MlflowClient(self._tracking, self.uri)

    @contextmanager
    def asked(self) -> Iterator[None]:
        """Let MLflow's own functions mean this store: there may be another in the process.

        Raises TerminalEnvironmentError for what MLflow and its database say: locked, broken, not there.
        """
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError  # a broken file: MLflow passes it on as it is

        mlflow = _mlflow()
        mlflow.set_tracking_uri(self._tracking)
        mlflow.set_registry_uri(self.uri)
        try:
            yield
        except (MlflowException, SQLAlchemyError) as error:
            said = str(error).split("\n", 1)[0].rstrip(".")  # the statement follows
            raise TerminalEnvironmentError(
                f"The model registry {self.uri} answered: {said}. Look at models.store."
            ) from error

    def experiment(self, name: str) -> str:
        """Give the id of an experiment; one of a folder keeps its artifacts in that folder."""
        name = f"/Shared/{name}" if self._managed else name
        place = (self._folder / "artifacts").as_uri() if self._folder is not None else None
        with self.asked():
            found = self._client.get_experiment_by_name(name)
            if found is not None:
                return str(found.experiment_id)
            return str(self._client.create_experiment(name, artifact_location=place))

    def versions(self) -> list[Registered]:
        """Give all versions, newest first; none where nothing was registered."""
        if not self._there:
            return []
        with self.asked():
            aliases = self._aliases()
            rows = self._client.search_model_versions(f"name = '{self.name}'")
        found = [_registered(self.name, row, aliases) for row in rows]
        return sorted(found, key=lambda version: -version.number)

    def find(self, wanted: str) -> Registered:
        """Find a version by number, alias, or `models:/NAME@ALIAS`, `models:/NAME/NUMBER`.

        Raises TerminalSettingsError that names those there are.
        """
        wanted = _inside(wanted, self.name)
        versions = self.versions()
        for version in versions:
            if wanted in (str(version.number), *version.aliases):
                return version
        there = [" = ".join([str(version.number), *version.aliases]) for version in versions]
        raise TerminalSettingsError(
            f"The registered model {self.name} has no version {wanted!r}. "
            f"There are: {', '.join(there) or 'none yet; `jude model register RUN` adds one'}."
        )

    def held_by(self, alias: str) -> Registered | None:
        """Give the version that an alias points at; None where nothing holds it."""
        return next((version for version in self.versions() if alias in version.aliases), None)

    def point(self, alias: str, version: Registered) -> None:
        """Let an alias point at a version."""
        with self.asked():
            self._client.set_registered_model_alias(self.name, alias, str(version.number))

    def tag(self, version: Registered, tags: Mapping[str, str]) -> None:
        """Write down facts about a version."""
        with self.asked():
            for key, value in tags.items():
                self._client.set_model_version_tag(self.name, str(version.number), key, value)

    def folder(self, version: Registered, part: str = MODEL_FOLDER) -> Path:
        """Give the merged model (or the adapter) as a folder of this machine, fetched where it lies elsewhere."""
        with self.asked():
            whole = Path(_mlflow().artifacts.download_artifacts(version.uri))
        return whole / "artifacts" / part

    def _aliases(self) -> dict[int, list[str]]:
        from mlflow.exceptions import MlflowException

        try:
            held = self._client.get_registered_model(self.name).aliases
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return {}
            raise
        return {number: sorted(a for a, n in held.items() if int(n) == number) for number in map(int, held.values())}


def name_in(uri: str) -> str | None:
    """Give the registered model that `models:/NAME@ALIAS` or `models:/NAME/NUMBER` names; None for other words."""
    if not uri.startswith(SCHEME):
        return None
    return uri.removeprefix(SCHEME).split("@")[0].split("/")[0]


def _inside(wanted: str, name: str) -> str:
    named = name_in(wanted)
    if named is None:
        return wanted
    rest = wanted.removeprefix(f"{SCHEME}{name}")
    if named != name or len(rest) < 2:
        raise TerminalSettingsError(
            f"{wanted} is no version of {name}: write {SCHEME}{name}@{CHAMPION} or {SCHEME}{name}/3; "
            "the setting models.name names another model."
        )
    return rest[1:]


def _registered(name: str, row: Any, aliases: Mapping[int, list[str]]) -> Registered:  # noqa: ANN401  MLflow's own
    number = int(row.version)
    made_at = datetime.fromtimestamp(row.creation_timestamp / 1000, UTC)
    return Registered(name, number, tuple(aliases.get(number, ())), dict(row.tags), row.run_id, made_at)


def _local(store: str) -> Path | None:
    return None if "://" in store or store.startswith(_MANAGED) else Path(store).absolute()


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TerminalEnvironmentError(f"models.store is {folder}, which cannot be made: {error.strerror}.") from error


def _mlflow() -> Any:  # noqa: ANN401  MLflow ships no types
    try:
        import mlflow
    except ModuleNotFoundError as missing:
        raise TerminalEnvironmentError(
            f"The package {missing.name} keeps models and is not installed. Install it: pip install 'jude[training]'."
        ) from missing
    # Its migrations, progress bars and guesses about pip are nobody's business here.
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # its 7 are four minutes for a server that is down
    return mlflow
