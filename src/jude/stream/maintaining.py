"""Run the maintenance job: by delta-rs for tables that the native writer keeps in a folder, else by Spark."""

from __future__ import annotations

import logging

from jude.observe import configure_logs
from jude.settings import Settings, TablesSettings
from jude.tables.maintenance import maintain, maintain_by_spark
from jude.tables.spec import TABLES


def run_maintenance(settings: Settings) -> None:
    """Run one pass over all tables. Raises JudeError with what to do."""
    configure_logs(settings.log.format, level=settings.log.level)
    tables = settings.tables
    if tables.writer == "native":
        assert tables.root is not None, "the settings refuse writer native without a root"
        maintain(tables.root, tables.storage_options, settings.maintenance)
        return
    from jude.stream.run import start_spark

    maintain_by_spark(start_spark(settings), _as_sql_calls_them(tables), settings.maintenance)
    logging.getLogger(__name__).info("maintained")


def _as_sql_calls_them(tables: TablesSettings) -> dict[str, str]:
    if tables.root is not None:
        return {name: f"delta.`{tables.root}/{name}`" for name in TABLES}
    schema = f"{tables.catalog}.{tables.schema}" if tables.catalog else str(tables.schema)
    return {name: f"{schema}.{name}" for name in TABLES}
