"""The tables through Spark: for Databricks, Unity Catalog and bulk loads. Same promises as the native writer.

How a write happens once. Delta's txnAppId / txnVersion cost 527 ms per append of 20 rows against 170 without (the
check reconstructs the table's state), and as session settings they leak into every later write. So the natural key,
which is the truth in any case, carries the promise: the first write of an app id *in this process* anti-joins, as does
a version that this process already applied and the write after a failed one; all others append blindly. A restart is a
new process, so no replay is ever blind. The app id and version go into the commit's userMetadata, for people.

On a local file system Spark puts a commit in place by look-then-rename, which is not atomic between processes: there,
let only one kind of writer write a table at a time. Catalogs and object stores with put-if-absent have no such gap.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from jude.errors import CommitConflictError, JudeError, TerminalTableError
from jude.planning.rows import KNOWN
from jude.planning.state import Key
from jude.tables import native_ensure
from jude.tables.buckets import buckets_of, require_power_of_two
from jude.tables.data_files import as_schema, conform
from jude.tables.failures import storage_error, table_errors
from jude.tables.fitting import specs_with
from jude.tables.merging import require_one_row_per_key
from jude.tables.native import NativeTables
from jude.tables.protocol import TextKey, Txn, written_by
from jude.tables.seen_rows import SeenRows
from jude.tables.spark_ensure import ensure_table
from jude.tables.spark_merge import MOVED, literal, run_merge, with_seen
from jude.tables.spec import EMBEDDING_CURRENT, EMBEDDING_STORE, MODEL_VERSIONS, TABLES, TEXT_HISTORY, TableSpec
from jude.tables.sql import install_sql
from jude.tables.stored_vectors import STORED_SCHEMA, width_error

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

MAX_LITERALS: Final = 2_000  # longer lists are joined: a plan with 10 k literals takes a second to analyse
QUICK: Final = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.shuffle.partitions": "1",
    "spark.sql.session.timeZone": "UTC",
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.databricks.delta.merge.materializeSource": "none",
}
ONE_FILE_ROWS: Final = 200_000  # below, one task writes the append: more files would only be compacted again


class SparkTables:
    """Tables at `root/<name>` (a path or URI) or `schema.<name>` (a catalog). Implements protocol.Tables."""

    def __init__(
        self,
        spark: SparkSession,
        buckets: int,
        root: str | None = None,
        schema: str | None = None,
        read_natively: bool = True,
    ) -> None:
        """Open nothing yet. Exactly one of `root` and `schema` (`catalog.schema` or `schema`) is given.

        `read_natively`: look-ups in tables under a local root go through delta-rs and Arrow; Spark does the writing.
        """
        if (root is None) == (schema is None):
            raise TerminalTableError("SparkTables needs either tables.root (a path) or tables.schema (a catalog).")
        self._spark, self._buckets = spark, require_power_of_two(buckets)
        self._quick = quick_session(spark)
        # Two look-ups by Spark took longer than four appends; the log and Arrow need some milliseconds.
        local = root is not None and "://" not in root.removeprefix("file://")
        self._reader = NativeTables(str(root), buckets) if local and read_natively else None
        self._root, self._schema = root and root.removeprefix("file://").rstrip("/"), schema
        self._applied: dict[str, int] = {}
        self._widths: dict[str, tuple[int, str]] = {}
        self._lock = threading.RLock()
        self._seen = SeenRows()

    # -- protocol -----------------------------------------------------------------------------------------------

    def ensure(self) -> None:
        """Create what is missing, migrate what is old, refuse what does not fit (TerminalTableError). Idempotent.

        In a catalog the views and functions for SQL are made too.
        """
        for spec in specs_with(self._buckets):
            if self._root is not None and "://" not in self._root:
                # The same table made by delta-rs: 0.1 s, where Spark needs some seconds for each of twelve.
                with table_errors(self.name(spec)):
                    native_ensure.ensure_table(spec, f"{self._root}/{spec.name}", {})
                continue
            with spark_errors(self.name(spec)):
                ensure_table(self._spark, spec, self._root and f"{self._root}/{spec.name}", self.name(spec))
        if self._schema:  # views and functions that last; over path tables every session installs its own
            install_sql(self._spark, None, self._schema)

    def known_state(self, model_version: str, keys: Iterable[Key]) -> pa.Table:
        """Read embedding_current for these keys: the KNOWN schema, `fields` all null. Always the newest table state."""
        wanted = sorted(set(keys))
        read = self._reader.known_state if self._reader else self._known_state
        known = read(model_version, wanted)
        self._seen.remember(model_version, wanted, known)
        return known

    def _known_state(self, model_version: str, wanted: Sequence[Key]) -> pa.Table:
        if not wanted:
            return KNOWN.empty_table()
        asked = pa.table({"entity_type": [k[0] for k in wanted], "entity_id": [k[1] for k in wanted]})
        dealt = buckets_of(asked["entity_type"].to_pylist(), asked["entity_id"].to_pylist(), self._buckets)
        asked = asked.append_column("bucket", pa.array(dealt, pa.int32()))
        asked = asked.append_column("model_version", pa.repeat(pa.scalar(model_version), asked.num_rows))
        with spark_errors(self.name(EMBEDDING_CURRENT)):
            found = self._matching(EMBEDDING_CURRENT, asked, [n for n in KNOWN.names if n != "fields"])
        return as_schema(found, KNOWN).combine_chunks()

    def fields_of(self, rows: Iterable[TextKey]) -> dict[TextKey, dict[str, str]]:
        """Read the raw text columns that text_history holds at these positions."""
        wanted = sorted(set(rows))
        if self._reader:
            return self._reader.fields_of(wanted)
        if not wanted:
            return {}
        names = ("entity_type", "entity_id", "position")
        asked = pa.table({n: [getattr(k, n) for k in wanted] for n in names})
        with spark_errors(self.name(TEXT_HISTORY)):
            found = self._matching(TEXT_HISTORY, asked, ["fields"])
        columns = zip(*(found[n].to_pylist() for n in (*names, "fields")), strict=True)
        return {TextKey(*key): dict(fields) for *key, fields in columns if fields is not None}

    def model_versions(self) -> pa.Table:
        """All rows of model_versions."""
        with spark_errors(self.name(MODEL_VERSIONS)):
            return self.read(MODEL_VERSIONS).toArrow().cast(MODEL_VERSIONS.schema)

    def live_keys(self, model_version: str, entity_type: str) -> list[Key]:
        """All live keys of an entity type (for a truncate that deletes)."""
        if self._reader:
            return self._reader.live_keys(model_version, entity_type)
        with spark_errors(self.name(EMBEDDING_CURRENT)):
            live = (
                self.read(EMBEDDING_CURRENT)
                .where(_equals("model_version", model_version) & _equals("entity_type", entity_type))
                .where(_equals("status", "live"))
            )
            ids = live.select("entity_id").toArrow()["entity_id"].to_pylist()
        return sorted(Key(entity_type, i) for i in ids)

    def stored(self, model_version: str, input_hashes: Sequence[str]) -> pa.Table:
        """Which of these inputs have a vector; one row per input_hash, the columns of embedding_store."""
        wanted = sorted(set(input_hashes))
        if self._reader:
            return self._reader.stored(model_version, wanted)
        if not wanted:
            return STORED_SCHEMA.empty_table()
        with spark_errors(self.name(EMBEDDING_STORE)):
            asked = pa.table({"input_hash": wanted, "model_version": [model_version] * len(wanted)})
            found = self._matching(EMBEDDING_STORE, asked, STORED_SCHEMA.names)
        first: dict[str, int] = {}
        for place, input_hash in enumerate(found["input_hash"].to_pylist()):
            first.setdefault(input_hash, place)  # a rare double is legal: every reader takes one
        return as_schema(found, STORED_SCHEMA).take(pa.array(list(first.values()), pa.int64())).combine_chunks()

    def append(self, table: str, rows: pa.Table, txn: Txn) -> None:
        """Append once (protocol.Tables.append; how: see the module)."""
        spec, app_id = TABLES[table], txn.app_id(table)
        if not rows.num_rows:
            return
        whole = conform(spec, rows)
        with self._lock, spark_errors(self.name(spec)):
            if spec is EMBEDDING_STORE:
                self._require_width(whole)
            applied = self._applied.pop(app_id, None)  # a failure below leaves it unknown: the retry anti-joins
            blind = applied is not None and applied < txn.version
            missing = whole if blind else self._missing(spec, whole)
            if missing.num_rows:
                self._write(spec, missing, txn)
            self._applied[app_id] = max(txn.version, applied if applied is not None else txn.version)

    def retract(self, table: str, txn: Txn) -> None:
        """Delete what this txn appended (protocol.Tables.retract)."""
        spec = TABLES[table]
        with self._lock, spark_errors(self.name(spec)):
            its = " AND ".join(f"{name} = {literal(value)}" for name, value in written_by(spec, txn).items())
            self._quick.sql(f"DELETE FROM {self.name(spec)} WHERE {its}")

    def merge_current(self, rows: pa.Table, txn: Txn) -> None:
        """MERGE into embedding_current, guarded (spec.MERGE_GUARD).

        Raises CommitConflictError when a row is no longer what `known_state` gave to this thread, or when Delta finds
        that another commit touched the files of the touched buckets.
        """
        if not rows.num_rows:
            return
        dealt = buckets_of(rows["entity_type"].to_pylist(), rows["entity_id"].to_pylist(), self._buckets)
        source = conform(EMBEDDING_CURRENT, rows.append_column("bucket", pa.array(dealt, pa.int32())))
        require_one_row_per_key(source)
        with self._lock, spark_errors(self.name(EMBEDDING_CURRENT)):
            session = self._session(source.num_rows)
            run_merge(session, self.name(EMBEDDING_CURRENT), with_seen(source, self._seen), MAX_LITERALS)
            self._seen.forget(pc.unique(source["model_version"]).to_pylist())

    # -- parts --------------------------------------------------------------------------------------------------

    def name(self, spec: TableSpec) -> str:
        """How SQL names the table."""
        return f"{self._schema}.{spec.name}" if self._schema else f"delta.`{self._root}/{spec.name}`"

    def read(self, spec: TableSpec, session: SparkSession | None = None) -> DataFrame:
        """The table as it is now."""
        session = session or self._spark
        if self._schema:
            return session.table(self.name(spec))
        return session.read.format("delta").load(f"{self._root}/{spec.name}")

    def _session(self, rows: int) -> SparkSession:
        """The session for a statement over this many rows."""
        return self._quick if rows <= MAX_LITERALS else self._spark

    def _matching(self, spec: TableSpec, asked: pa.Table, columns: Sequence[str]) -> pa.Table:
        """Read the rows whose columns equal one of the asked rows; Delta prunes only by literals, so those come first.

        Columns out: asked's, then `columns`
        """
        from pyspark.sql import functions as F  # noqa: N812 - the name that every Spark user knows

        session = self._session(asked.num_rows)
        table = self.read(spec, session)
        for name in asked.column_names:
            values = pc.unique(asked[name])
            if len(values) <= MAX_LITERALS:
                table = table.where(F.col(name).isin(values.to_pylist()))
            elif pa.types.is_string(values.type):
                ends = pc.min_max(values).as_py()
                table = table.where(F.col(name).between(ends["min"], ends["max"]))
        names = [*asked.column_names, *(c for c in columns if c not in asked.column_names)]
        if asked.num_rows > MAX_LITERALS:
            wanted = session.createDataFrame(asked)
            return table.join(F.broadcast(wanted), asked.column_names, "left_semi").select(*names).toArrow()
        found = table.select(*names).toArrow()  # a few rows too many: j1 of jobs and of members
        rows = set(zip(*(asked[c].to_pylist() for c in asked.column_names), strict=True))
        ours = zip(*(found[c].to_pylist() for c in asked.column_names), strict=True)
        return found.filter(pa.array([row in rows for row in ours], pa.bool_()))

    def _missing(self, spec: TableSpec, rows: pa.Table) -> pa.Table:
        """Anti-join on the natural key: the rows that the table does not hold."""
        if self._reader:
            return self._reader.missing(spec.name, rows)
        key = list(spec.natural_key)
        have = self._matching(spec, rows.select(key), [])
        known = set(zip(*(have[c].to_pylist() for c in key), strict=True))
        ours = zip(*(rows[c].to_pylist() for c in key), strict=True)
        return rows.filter(pa.array([k not in known for k in ours]))

    def _write(self, spec: TableSpec, rows: pa.Table, txn: Txn) -> None:
        frame = self._session(rows.num_rows).createDataFrame(rows)
        if rows.num_rows <= ONE_FILE_ROWS:
            frame = frame.coalesce(1)
        mark = json.dumps({"app_id": txn.app_id(spec.name), "version": txn.version})
        writer = frame.write.format("delta").mode("append").option("userMetadata", mark)
        if self._schema:
            writer.saveAsTable(self.name(spec))
        else:
            writer.save(f"{self._root}/{spec.name}")

    def _require_width(self, rows: pa.Table) -> None:
        for version, dim, dtype in set(
            zip(*(rows[c].to_pylist() for c in ("model_version", "dim", "dtype")), strict=True)
        ):
            if version not in self._widths:
                store = self.read(EMBEDDING_STORE).where(_equals("model_version", version))
                sample = store.select("dim", "dtype").take(1)
                self._widths[version] = (sample[0][0], sample[0][1]) if sample else (dim, dtype)
            if self._widths[version] != (dim, dtype):
                raise width_error(self.name(EMBEDDING_STORE), version, self._widths[version], (dim, dtype))


def quick_session(spark: SparkSession) -> SparkSession:
    """Open a second session over the same tables, set for statements over some rows.

    Literal predicates make new code in each batch, and compiling it takes longer than running it: without code
    generation a batch of 20 rows took 763 ms instead of 1,011. A session of its own keeps these settings from others.
    """
    from pyspark.sql.utils import is_remote

    if is_remote():
        return spark  # Spark Connect has no second session over one client
    session = spark.newSession()
    for key, value in QUICK.items():
        session.conf.set(key, value)
    return session


@contextmanager
def spark_errors(where: str) -> Iterator[None]:
    """Turn what Spark and Delta raise while `where` is read or written into JUDE's errors."""
    from py4j.protocol import Py4JJavaError
    from pyspark.errors import AnalysisException, PySparkException

    try:
        yield
    except JudeError:
        raise
    except (PySparkException, Py4JJavaError) as error:
        said = str(error)
        if "DELTA_CONCURRENT" in said or "Concurrent" in type(error).__name__ or MOVED in said:
            raise CommitConflictError(
                f"{where}: another writer changed the touched rows ({said.splitlines()[0]}). "
                "Nothing was written; read known state again and plan again."
            ) from error
        if isinstance(error, AnalysisException) and (
            "not exist" in said or "NOT_FOUND" in said or "NOT_A_DELTA" in said
        ):
            raise TerminalTableError(f"There is no Delta table {where}: run `ensure` once before writing.") from error
        raise storage_error(where, error) from error


def _equals(name: str, value: Any) -> Column:  # noqa: ANN401  a literal of the column's type
    from pyspark.sql import functions as F  # noqa: N812 - the name that every Spark user knows

    return F.col(name) == F.lit(value)
