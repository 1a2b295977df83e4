"""Bringing the services up in order, looking at them, and taking them down."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from deploy.stack import services
from deploy.stack.ports import free_ports, is_free
from deploy.stack.processes import Command, Started, is_alive, start, stop
from deploy.stack.ready import is_ready, restart_failed_task
from deploy.stack.services import COMMANDS, PORTS, Places

PROJECT: Final = Path(__file__).parents[2]
START_SECONDS: Final = 90.0
Say = Callable[[str], None]

_CONF = """# Written by `make stack-up`: the stream over the services of this stack.
#
#   jude stream run --conf {conf}
extends: {base}

source:
  kind: kafka
  path: null
  kafka:
    bootstrap_servers: 127.0.0.1:{kafka}
    pattern: jude\\.public\\.(jobs|members|resumes)  # a table without rows has no topic yet

entities:
  folder: {entities}

stream:
  checkpoint: {work}/checkpoint

tables:
  root: {work}/tables

online:
  kind: redis
  redis:
    url: redis://127.0.0.1:{redis}/0

output:
  kind: kafka
  bootstrap_servers: 127.0.0.1:{kafka}
  partitions: 3
"""


class StackError(Exception):
    """A service did not start: which, and the end of its log."""


def default_folder() -> Path:
    """Give the stack's folder: JUDE_STACK, else .jude/stack."""
    return Path(os.environ.get("JUDE_STACK") or PROJECT / ".jude" / "stack").absolute()


@dataclass
class Stack:
    """The services in one folder. Every verb can be repeated. `broker`: see Places."""

    folder: Path = field(default_factory=default_folder)
    say: Say = print
    broker: str = ""

    def __post_init__(self) -> None:
        self.started: dict[str, Started] = {}
        self._ports: dict[str, int] = {}
        if self._file.exists():
            state = json.loads(self._file.read_text())
            self.started = {name: Started(**each) for name, each in state["started"].items()}
            self._ports = state["ports"]

    @property
    def places(self) -> Places:
        """Where everything is; the ports are chosen when the stack first comes up."""
        return Places(self.folder, PROJECT / ".spark" / "stack", self._ports, self.broker)

    @property
    def conf(self) -> Path:
        """The settings file for the stream over this stack."""
        return self.folder / "live.yml"

    @property
    def work(self) -> Path:
        """Where that stream keeps its tables and its checkpoint."""
        return self.folder / "stream"

    def up(self, wanted: Sequence[str] = tuple(COMMANDS)) -> None:
        """Start what does not run and wait until it answers.

        Raises MissingProgramError (what to install), StackError (the end of the log).
        """
        (self.folder / "logs").mkdir(parents=True, exist_ok=True)
        self._choose_ports()
        # All of them before the first is started: what is missing is said while nothing runs.
        commands = {name: COMMANDS[name](self.places) for name in wanted if not self.is_up(name)}
        for name in (n for n in commands if n != "connect"):
            self._run(name, commands[name])
        for name in (n for n in wanted if n != "connect"):
            self.wait_for(name)
        if "postgres" in wanted:
            self._make_database()
        if "connect" in wanted:  # it needs the database and the broker
            if "connect" in commands:
                self._run("connect", commands["connect"])
            self.wait_for("connect")
        self._write_conf()

    def start(self, name: str) -> None:
        """Start one service unless it runs."""
        if not self.is_up(name):
            self._run(name, COMMANDS[name](self.places))

    def _run(self, name: str, command: Command) -> None:
        self.started[name] = start(command)
        self._save()

    def wait_for(self, name: str, seconds: float = START_SECONDS) -> None:
        """Wait until a service answers. Raises StackError."""
        began = time.monotonic()
        while not is_ready(name, self.places):
            dead = not self.is_up(name)
            if dead or time.monotonic() - began > seconds:
                log = self.places.log(name)
                why = "ended" if dead else f"did not answer within {seconds:.0f} s"
                raise StackError(f"{name} {why}. The end of {log}:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)
        self.say(f"{name:<9} answers on 127.0.0.1:{self._ports[name]} after {time.monotonic() - began:.1f} s")

    def heal(self) -> None:
        """Start again what has died, wake a connector whose task gave up; for a supervisor: it waits for nothing."""
        for name in COMMANDS:
            if name in self.started and not self.is_up(name):
                self.start(name)
        if self.is_up("connect"):
            restart_failed_task(self.places)

    def is_up(self, name: str) -> bool:
        """Tell whether the process that we started still runs."""
        return name in self.started and is_alive(self.started[name])

    def status(self) -> dict[str, str]:
        """Say of each service whether it runs and answers."""
        said = {}
        for name in COMMANDS:
            answers = self.is_up(name) and is_ready(name, self.places)
            state = "answers" if answers else "runs, does not answer" if self.is_up(name) else "down"
            where = f" on 127.0.0.1:{self._ports[name]}, pid {self.started[name].pid}" if self.is_up(name) else ""
            said[name] = f"{state}{where} (log: {self.places.log(name)})"
        return said

    def down(self, *, remove: bool = False) -> None:
        """End what we started, in the opposite order; with `remove`, forget the data too."""
        for name in reversed(COMMANDS):
            if self.is_up(name):
                command = COMMANDS[name](self.places)
                stop(self.started[name], command.stop_signal)
                self.say(f"{name:<9} stopped")
            self.started.pop(name, None)
        if self._file.exists():
            self._save()
        if remove and self._file.exists():  # only a folder that is a stack's
            shutil.rmtree(self.folder)

    @property
    def database_url(self) -> str:
        """Give the address of the source database."""
        return services.database_url(self.places)

    @property
    def _file(self) -> Path:
        return self.folder / "stack.json"

    def _save(self) -> None:
        state = {"ports": self._ports, "started": {name: asdict(each) for name, each in self.started.items()}}
        partial = self._file.with_suffix(".partial")
        partial.write_text(json.dumps(state, indent=2))
        partial.replace(self._file)

    def _choose_ports(self) -> None:
        """Keep the ports of the last time; a taken one is replaced while its service is down."""
        taken = [p for p in PORTS if not self._is_ours(p) and not is_free(self._ports.get(p))]
        self._ports |= dict(zip(taken, free_ports(len(taken)), strict=True))
        self._save()

    def _is_ours(self, port: str) -> bool:
        return port in self._ports and self.is_up(port.removesuffix("_controller"))

    def _make_database(self) -> None:
        import psycopg

        admin = self.database_url.removesuffix("jude") + "postgres"
        with psycopg.connect(admin, autocommit=True) as connection:
            there = connection.execute("SELECT 1 FROM pg_database WHERE datname = 'jude'").fetchone()
            if not there:
                connection.execute("CREATE DATABASE jude")
        with psycopg.connect(self.database_url) as connection:
            if not connection.execute("SELECT 1 FROM pg_publication WHERE pubname = 'jude'").fetchone():
                connection.execute((services.HERE / "schema.sql").read_bytes())

    def _write_conf(self) -> None:
        conf = PROJECT / "conf"
        places = {"base": conf / "local.yml", "entities": conf / "entities", "work": self.work, "conf": self.conf}
        self.conf.write_text(_CONF.format(**self._ports, **places))
