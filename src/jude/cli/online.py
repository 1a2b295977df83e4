"""`jude online rebuild | verify`: a lost online store comes back from the tables, an intact one is held to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

from jude.cli.place import Place
from jude.cli.show import count_of, open_console, print_json
from jude.errors import TerminalError, TerminalSettingsError
from jude.online import OnlineStore, open_online
from jude.online.rebuild import Rebuilt, Verified, rebuild, verify
from jude.stream.opening import now


def rebuild_online(place: Place) -> Rebuilt:
    """Put every vector and tombstone that is not there; raises TerminalSettingsError where no store is configured."""
    with _opened(place) as (store, progress):
        return rebuild(store, place.root, place.model_version, now, progress)


def verify_online(place: Place, *, repair: bool) -> Verified:
    """Compare every row with the tables; raises TerminalSettingsError where no store is configured."""
    with _opened(place) as (store, progress):
        return verify(store, place.root, place.model_version, now if repair else None, progress)


@contextmanager
def _opened(place: Place) -> Iterator[tuple[OnlineStore, Callable[[int], None]]]:
    if place.settings.online.kind == "none":
        raise TerminalSettingsError("There is no online store here: online.kind is `none`.")
    place.require_rows()
    store = open_online(place.settings.online)
    try:
        with open_console(stderr=True).status("reading the tables") as status:
            yield store, lambda rows: status.update(f"{rows:,} rows")
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
    _warn_of_lost(rebuilt.without_vector)


def show_verified(verified: Verified, *, as_json: bool) -> None:
    """Say how the store compares. Raises TerminalError (exit code 1) when readers get something wrong."""
    if as_json:
        print_json(asdict(verified))
    else:
        console = open_console()
        console.print(f"{count_of(verified.right, 'row')} as the tables say, {verified.newer:,} newer than they.")
        _warn_of_lost(verified.without_vector)
    if verified.wrong:
        raise TerminalError(
            f"{verified.missing:,} missing, {verified.wrong_vector:,} with another vector, {verified.undeleted:,} not "
            f"deleted; {verified.repaired:,} of them repaired. Run `jude online verify --repair`; if that leaves some, "
            "move the store away (another file or prefix) and run `jude online rebuild`."
        )
    if verified.repaired and not as_json:
        open_console().print(f"{count_of(verified.repaired, 'row')} repaired.")


def _warn_of_lost(without_vector: int) -> None:
    if without_vector:
        who = f"{without_vector:,} live {'entity has' if without_vector == 1 else 'entities have'}"
        open_console().print(f"{who} no stored vector.", style="red")
