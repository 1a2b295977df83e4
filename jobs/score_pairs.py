"""Score pairs by a trained cross-encoder, for distillation. Started again, it scores only what is missing.

spark-submit jobs/score_pairs.py --pairs pairs.parquet --teacher .jude/teacher/adapter --scores .jude/scores
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from delta.tables import DeltaTable
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import col, sha2

from jude.errors import TerminalTrainingError
from jude.jobs import exit_code
from jude.spark import build_spark
from jude.training.data.scores import KEYS
from jude.training.teacher import SCHEMA, require_sides, score_pairs, teacher_version


def main(argv: Sequence[str] | None = None) -> int:
    """Append the scores of one teacher to a Delta table, in one commit."""
    asked = _parse(argv)
    return exit_code(lambda: _score(asked))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", required=True, help="pairs, Parquet or Delta")
    parser.add_argument("--teacher", type=Path, required=True, help="the adapter folder of a cross_encoder run")
    parser.add_argument("--scores", required=True, help="the Delta table of scores")
    parser.add_argument("--master", help="such as local[2]; default: spark-submit or the cluster decides")
    return parser.parse_args(argv)


def _score(asked: argparse.Namespace) -> str:
    version = teacher_version(asked.teacher)
    spark = build_spark("jude-score-pairs", master=asked.master)
    pairs = _read(spark, asked.pairs)
    require_sides(pairs, asked.pairs)
    scored = _scored(spark, asked.scores).where(col("teacher_version") == version)
    before = scored.count()
    missing = _missing(pairs, scored)
    if not missing.isEmpty():
        score_pairs(missing, asked.teacher.absolute()).write.format("delta").mode("append").save(asked.scores)
    made = _scored(spark, asked.scores).where(col("teacher_version") == version).count() - before
    return f"{version}: {made} pairs scored, {before} were there before, in {asked.scores}"


def _read(spark: SparkSession, path: str) -> DataFrame:
    try:
        return spark.read.format("delta" if DeltaTable.isDeltaTable(spark, path) else "parquet").load(path)
    except AnalysisException as error:
        raise TerminalTrainingError(f"{path} cannot be read as pairs: {str(error).splitlines()[0]}") from error


def _scored(spark: SparkSession, path: str) -> DataFrame:
    if DeltaTable.isDeltaTable(spark, path):
        return spark.read.format("delta").load(path)
    return spark.createDataFrame([], SCHEMA)


def _missing(pairs: DataFrame, scored: DataFrame) -> DataFrame:
    """Keep the pairs whose texts have no score yet."""
    hashes = {key: sha2(col(key.removesuffix("_hash")), 256) for key in KEYS}
    return pairs.withColumns(hashes).join(scored, on=list(KEYS), how="left_anti")


if __name__ == "__main__":
    sys.exit(main())
