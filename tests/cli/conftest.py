"""Deployments that the tests of this room share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.deploying import Deployment
from tests.stories import delete, job, record, tombstone, upsert

MEMBERS = "jude.public.members"


@pytest.fixture
def empty(tmp_path: Path) -> Deployment:
    """No stream has run yet."""
    return Deployment(tmp_path)


@pytest.fixture
def small(made_once: Deployment, tmp_path: Path) -> Deployment:
    """A baker whose text changes, two cooks who share a vector, a driver who is deleted, a member, a broken record."""
    return Deployment(tmp_path, like=made_once)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """What `small` is a copy of."""
    deployment = Deployment(tmp_path_factory.mktemp("small"))
    deployment.apply(
        upsert("j1", 10, job("Baker", "Bakes bread."), op="c"),
        upsert("j2", 11, job("Cook"), op="c"),
        upsert("j3", 12, job("Cook"), op="c"),
        upsert("j4", 13, job("Driver"), op="c"),
        upsert("m1", 14, {"headline": "Engineer", "experience": "Bridges."}, topic=MEMBERS),
    )
    deployment.apply(
        upsert("j1", 20, job("Baker", "Bakes bread and cakes.")),
        upsert("j1", 21, job("Baker", "Bakes bread and wedding cakes.")),
        upsert("j2", 22, job("Cook", status="closed")),
        upsert("j3", 23, job("  Cook ")),
        delete("j4", 24),
        tombstone("j4", 25),
        record({"id": "j5"}, b"{broken", offset=26),
    )
    deployment.apply(upsert("j1", 30, job("Baker", "Bakes bread and wedding cakes.", status="open")))
    return deployment
