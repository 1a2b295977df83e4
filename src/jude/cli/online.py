"""`jude online rebuild`: a lost online store comes back from the tables."""

from __future__ import annotations

from dataclasses import asdict

from jude.cli.place import Place
from jude.cli.show import count_of, open_console, print_json
from jude.errors import TerminalSettingsError
from jude.online import open_online
from jude.online.rebuild import Rebuilt, rebuild
from jude.stream.opening import now


def rebuild_online(place: Place) -> Rebuilt:
    """Put every current vector and tombstone; raises TerminalSettingsError where no store is configured."""
    if place.settings.online.kind == "none":
        raise TerminalSettingsError("There is no online store to rebuild: online.kind is `none`.")
    place.require_rows()
    store = open_online(place.settings.online)
    try:
        with open_console(stderr=True).status("reading the tables") as status:
            return rebuild(
                store, place.root, place.model_version, now, lambda puts: status.update(f"{puts:,} rows put")
            )
    finally:
        store.close()


def show_rebuilt(rebuilt: Rebuilt, *, as_json: bool) -> None:
    """Say what was put."""
    if as_json:
        print_json(asdict(rebuilt))
        return
    console = open_console()
    put = f"{count_of(rebuilt.vectors, 'vector')} and {count_of(rebuilt.tombstones, 'tombstone')} put"
    console.print(f"{put}, {rebuilt.already_there:,} were there already.")
    if lost := rebuilt.without_vector:
        console.print(f"{lost:,} live {'entity has' if lost == 1 else 'entities have'} no stored vector.", style="red")
