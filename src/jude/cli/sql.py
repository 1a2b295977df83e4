"""`jude sql`: Spark SQL over the tables, with the views and functions that every session of JUDE has."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jude.cli.failing import hush_spark, sentence_of
from jude.cli.place import open_place
from jude.cli.show import count_of, make_table, open_console, plain, print_json
from jude.errors import TerminalError
from jude.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

CELL_CHARACTERS = 200
NUMBERS_SHOWN = 4
_LOOKS: Final = ("Show", "Describe", "Explain")
_PLANS: Final = "org.apache.spark.sql.catalyst.plans.logical"
_STATEMENTS: Final = (f"{_PLANS}.Command", f"{_PLANS}.ParsedStatement")


@dataclass(frozen=True, slots=True)
class Rows:
    """The answer to a query, cut at the limit."""

    columns: list[str]
    rows: list[dict[str, Any]]
    more: bool
    start_seconds: float
    query_seconds: float


def run_query(settings: Settings, query: str, limit: int) -> Rows:
    """Start Spark and run one query. Raises TerminalError with Spark's own words where it is wrong."""
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
            _refuse_changes(spark, query)
            found = spark.sql(query)
            found = found.toDF(*_distinct(found.columns))
            rows = [row.asDict(recursive=True) for row in found.limit(limit + 1).collect()]
            ended = time.monotonic()
        except PySparkException as error:
            raise TerminalError(f"Spark refused the query: {sentence_of(error)}") from error
        except (ValueError, OverflowError) as error:  # Spark's years go further than Python's
            raise TerminalError(f"The answer cannot be shown: {error}. Cast it to string.") from error
        finally:
            spark.stop()
    return Rows(found.columns, rows[:limit], len(rows) > limit, started - began, ended - started)


def _refuse_changes(spark: SparkSession, query: str) -> None:
    """Raise TerminalError for a statement that is no question: the tables are the stream's."""
    from py4j.java_gateway import is_instance_of

    gateway: Any = spark.sparkContext._gateway
    session: Any = spark._jsparkSession
    waiting = [session.sessionState().sqlParser().parsePlan(query)]
    while waiting:
        node = waiting.pop()
        name = node.getClass().getSimpleName()
        if not name.startswith(_LOOKS) and any(is_instance_of(gateway, node, kind) for kind in _STATEMENTS):
            raise TerminalError(
                f"`jude sql` only reads: it takes queries, SHOW, DESCRIBE and EXPLAIN, and this is {name}. "
                "The stream and jobs/maintenance.py change the tables."
            )
        children = node.children()
        waiting += [children.apply(number) for number in range(children.size())]


def _distinct(columns: list[str]) -> list[str]:
    """Number the columns that have the name of an earlier one, as those of a join do."""
    names: list[str] = []
    for column in columns:
        tries = (column if number == 1 else f"{column}_{number}" for number in itertools.count(1))
        names.append(next(name for name in tries if name not in names))
    return names


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
