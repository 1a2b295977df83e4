"""`jude sql`: Spark SQL over the tables, with the views and functions that every session of JUDE has."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

from jude.cli.failing import hush_spark, sentence_of
from jude.cli.place import open_place
from jude.cli.show import count_of, make_table, open_console, plain, print_json
from jude.errors import TerminalError
from jude.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

CELL_CHARACTERS = 200
NUMBERS_SHOWN = 4


@dataclass(frozen=True, slots=True)
class Rows:
    """The answer to a query, cut at the limit."""

    columns: list[str]
    rows: list[dict[str, Any]]
    more: bool
    start_seconds: float
    query_seconds: float


def run_query(settings: Settings, query: str, limit: int) -> Rows:
    """Start Spark and run one statement. Raises TerminalError with Spark's own words where it is wrong."""
    from pyspark.errors import PySparkException

    from jude.stream.run import start_spark
    from jude.tables.sql import install_sql

    if settings.tables.root is not None:
        open_place(settings).require_rows()
    hush_spark()
    began = time.monotonic()
    with open_console(stderr=True).status("starting Spark") as status:
        spark = start_spark(settings)
        try:
            if settings.tables.root is not None:  # a catalog has them already
                install_sql(spark, settings.tables.root)
            started = time.monotonic()
            status.update("running the query")
            found = _with_own_names(spark.sql(query))
            rows = [row.asDict(recursive=True) for row in found.limit(limit + 1).collect()]
            ended = time.monotonic()
        except PySparkException as error:
            raise TerminalError(f"Spark refused the query: {sentence_of(error)}") from error
        finally:
            spark.stop()
    return Rows(found.columns, rows[:limit], len(rows) > limit, started - began, ended - started)


def _with_own_names(found: DataFrame) -> DataFrame:
    """Number the columns of one name (`id`, `id_2`), as a join has them: rows are kept by name."""
    names: list[str] = []
    for name in found.columns:
        numbered = (f"{name}_{number}" for number in count(2))
        names.append(name if name not in names else next(other for other in numbered if other not in names))
    return found if names == found.columns else found.toDF(*names)


def show_rows(found: Rows, *, as_json: bool) -> None:
    """Print a table, or a JSON list of rows."""
    if as_json:
        print_json(found.rows)
        return
    console = open_console()
    cells = [[_cell(value) for value in row.values()] for row in found.rows]
    console.print(make_table(found.columns, cells, left=_words(found)))
    more = " (there are more: --limit)" if found.more else ""
    seconds = f"Spark took {found.start_seconds:.1f} s to start, the query {found.query_seconds:.1f} s"
    console.print(f"\n{count_of(len(found.rows), 'row')}{more}. {seconds}.", style="dim")


def _words(found: Rows) -> list[str]:
    """Name the columns that do not hold numbers only."""
    numbers = int | float | None
    return [c for c in found.columns if not all(isinstance(row[c], numbers) for row in found.rows)]


def _cell(value: Any) -> str:  # noqa: ANN401  whatever Spark gives
    if value is None:
        return "null"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, bytes | bytearray):
        return f"{len(value)} bytes"
    if isinstance(value, list) and len(value) > NUMBERS_SHOWN and isinstance(value[0], float):
        return f"[{', '.join(f'{v:.3g}' for v in value[:NUMBERS_SHOWN])}, … {len(value)} numbers]"
    return plain(str(value), CELL_CHARACTERS)
