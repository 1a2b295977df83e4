"""`jude quarantine`: records that could not be applied - look, mend the cause, feed them back; or dismiss them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import typer

from jude.cli.place import Place, nothing_here, tables_of
from jude.cli.show import count_of, open_console, plain, print_json, when
from jude.errors import TerminalError
from jude.stream.opening import now, open_pipeline
from jude.stream.replay import Replayed, dismiss_quarantine, replay_quarantine
from jude.tables.reading import Row, open_quarantine

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SHOWN_BYTES = 4_000


@dataclass(frozen=True, slots=True)
class OpenRecords:
    """Open quarantine rows, without the records themselves."""

    root: str
    empty: bool
    rows: list[Row]


def read_open(place: Place) -> OpenRecords:
    """Read the open records, oldest first."""
    rows = [] if place.is_empty else open_quarantine(place.root).to_pylist()
    return OpenRecords(place.root, place.is_empty, rows)


def show_list(found: OpenRecords, *, as_json: bool) -> None:
    """Print two lines per record: what it is, and what is wrong with it."""
    if as_json:
        print_json(found.rows)
        return
    console = open_console()
    if found.empty:
        console.print(nothing_here(found.root))
    elif not found.rows:
        console.print("Nothing is in quarantine.")
    for row in found.rows:
        who = " ".join(filter(None, (row["entity_type"], plain(row["entity_id"] or "", 40)))) or "unknown entity"
        attempts = count_of(row["attempts"], "attempt")
        console.print(plain(row["quarantine_id"]), style="bold")
        console.print(f"  {row['error_class']}, {who}, {attempts}, {when(row['quarantined_at'])} UTC")
        console.print(f"  {plain(row['error'])}")
    if found.rows:
        console.print(
            "\nLook: `jude quarantine show ID`; once mended: `jude quarantine replay ID|--all`; what nobody can mend: "
            "`jude quarantine dismiss ID`."
        )


def find_records(place: Place, quarantine_id: str) -> list[Row]:
    """Read what is open under an id, whole. Raises TerminalError where nothing is."""
    rows: list[Row] = _chosen(place, [quarantine_id]).to_pylist()
    return rows


def show_record(row: Row, *, as_json: bool) -> None:
    """Print a record field by field; key and value as text."""
    if as_json:
        print_json(_readable(row))
        return
    console = open_console()
    for name, value in _readable(row).items():
        console.print(f"{name:<15} {plain(str(value), SHOWN_BYTES)}", soft_wrap=True)


def _readable(row: Row) -> dict[str, Any]:
    def text(value: bytes | None) -> str | None:
        return None if value is None else value.decode("utf-8", "backslashreplace")

    headers = {header["key"]: text(header["value"]) for header in row["headers"] or ()}
    return row | {"key": text(row["key"]), "value": text(row["value"]), "headers": headers}


def replay(place: Place, ids: Sequence[str], *, everything: bool) -> Replayed:
    """Replay the named open records, or all. Raises TerminalError for an id that is not open."""
    if bool(ids) == everything:
        raise TerminalError("Name the records to replay (`jude quarantine list`), or give --all; not both.")
    rows = _chosen(place, None if everything else ids)
    if not rows.num_rows:
        return Replayed(0, 0)
    pipeline = open_pipeline(place.settings, _spark_for(place))
    try:
        return replay_quarantine(rows, pipeline, uuid.uuid4().hex)
    finally:
        pipeline.online.close()


def show_replayed(replayed: Replayed, *, as_json: bool) -> None:
    """Say how many records are done with, and how many failed again."""
    if as_json:
        print_json(asdict(replayed))
        return
    if replayed == Replayed(0, 0):
        open_console().print("Nothing is in quarantine.")
        return
    still_open = f", {replayed.still_open:,} failed again and stay open" if replayed.still_open else ""
    open_console().print(f"{count_of(replayed.closed, 'record')} replayed{still_open}.")


def dismiss(place: Place, ids: Sequence[str], reason: str | None, *, sure: bool) -> None:
    """Ask, then close the named open records for good. Raises TerminalError for an id that is not open."""
    rows = _chosen(place, ids)
    what = count_of(rows.num_rows, "record")
    if not sure:
        typer.confirm(f"Close {what} without applying? Their bytes stay in the table.", abort=True)
    tables = tables_of(place.settings)
    tables.ensure()
    dismiss_quarantine(rows, tables, uuid.uuid4().hex, now(), reason)
    open_console().print(f"{what} dismissed.")


def _chosen(place: Place, ids: Sequence[str] | None) -> pa.Table:
    """Read open records with all their bytes; None stands for all."""
    place.require_rows()
    rows = open_quarantine(place.root, with_records=True)
    if ids is None:
        return rows
    chosen = rows.filter(pc.is_in(rows["quarantine_id"], value_set=pa.array(ids, pa.string())))
    unknown = set(ids) - set(chosen["quarantine_id"].to_pylist())
    if unknown:
        raise TerminalError(
            f"Not open in quarantine: {', '.join(sorted(unknown))}. `jude quarantine list` shows what is."
        )
    return chosen


def _spark_for(place: Place) -> SparkSession | None:
    """Start Spark where the settings need it: the native writer does not."""
    if place.settings.tables.writer == "native" and place.settings.encoder.where == "driver":
        return None
    from jude.stream.run import start_spark

    return start_spark(place.settings)
