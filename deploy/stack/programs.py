"""The programs that the stack needs, and what to do where one is missing."""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path

_HOW = {
    "postgresql": "Debian: apt-get install postgresql, macOS: brew install postgresql@15",
    "redis": "Debian: apt-get install redis-server, macOS: brew install redis",
}


class MissingProgramError(Exception):
    """A program is not installed: which, and how to get it."""


def postgres_folder() -> Path:
    """Find the newest PostgreSQL's programs; Debian keeps them off the PATH."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name.split(".")[0]))
    on_path = shutil.which("initdb")
    places = [Path(on_path).resolve().parent] if on_path else places
    if not places or not (places[-1] / "pg_isready").exists():
        raise MissingProgramError(_sentence("PostgreSQL", _HOW["postgresql"]))
    return places[-1]


def redis_server() -> str:
    """Find redis-server."""
    found = shutil.which("redis-server")
    if found is None:
        raise MissingProgramError(_sentence("redis-server", _HOW["redis"]))
    return found


def postgres_user() -> str | None:
    """Name the user that runs PostgreSQL, which refuses to run as root; None: whoever runs this."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        raise MissingProgramError("PostgreSQL does not run as root, and there is no user `postgres`.") from None


def check_reachable(folder: Path, user: str | None) -> None:
    """Raise MissingProgramError where PostgreSQL's user cannot reach the folder."""
    if user is None:
        return
    closed = [parent for parent in folder.absolute().parents if not parent.stat().st_mode & 0o001]
    if closed:
        raise MissingProgramError(
            f"PostgreSQL runs as the user {user}, which may not enter {closed[-1]}. Put the stack into another folder: "
            "JUDE_STACK=/var/tmp/jude-stack make stack-up (and the same for the other targets)."
        )


def _sentence(program: str, how: str) -> str:
    return (
        f"{program} is not installed ({how}). Or run the same stack in containers: "
        "docker compose -f deploy/compose.yml up -d"
    )
