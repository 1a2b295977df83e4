"""Make data/training/*.parquet from O*NET, ESCO and USAJOBS files: titles and what they are titles of.

python -m scripts.build_training_data FOLDER      FOLDER holds onet/, esco/ and rel_usajobs_title_series/
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

TARGET = Path("data/training")
BORDER = "2025-07-01"  # USAJOBS postings opened from here on are for testing
ROWS_PER_SOURCE = 12_000
SEED = 0


def onet(folder: Path) -> pd.DataFrame:
    """An alternate or reported title, and the occupation's name and description."""
    occupations = pd.read_csv(folder / "occupations.csv.gz")
    occupations["document_text"] = occupations.title + ". " + occupations.description
    alternate = pd.read_csv(folder / "alternate_titles.csv.gz").rename(columns={"alternate_title": "query_text"})
    reported = pd.read_csv(folder / "reported_titles.csv.gz").rename(columns={"reported_title": "query_text"})
    titles = pd.concat([alternate, reported])[["onet_soc", "query_text"]].drop_duplicates()
    pairs = titles.merge(occupations[["onet_soc", "document_text"]], on="onet_soc")
    return pairs.assign(group="onet " + pairs.onet_soc, source="onet")


def esco(folder: Path) -> pd.DataFrame:
    """An alternative label, and the occupation's description."""
    occupations = pd.read_csv(folder / "occupations.csv.gz").dropna(subset=["alt_labels", "description"])
    labels = occupations.assign(query_text=occupations.alt_labels.str.split("|")).explode("query_text")
    return labels.rename(columns={"description": "document_text"}).assign(group="esco " + labels.uri, source="esco")


def usajobs(folder: Path) -> pd.DataFrame:
    """A posting's title, and the name of its occupational series; one row per pair, at its first day."""
    postings = pd.read_csv(folder / "postings.csv.gz").dropna(subset=["title", "series_name", "open_date"])
    first = postings.sort_values("open_date").drop_duplicates(["title", "series_name"])
    renamed = first.rename(columns={"title": "query_text", "series_name": "document_text"})
    return renamed.assign(group="series " + renamed.series_code.astype(str), source="usajobs")


def as_pairs(rows: pd.DataFrame) -> pa.Table:
    """Lay rows out as pairs; what pairs a text with itself teaches nothing."""
    rows = rows.assign(query_text=rows.query_text.str.strip(), document_text=rows.document_text.str.strip())
    rows = rows[rows.query_text.str.casefold() != rows.document_text.str.casefold()].drop_duplicates(
        ["query_text", "document_text"]
    )
    table = {
        "query_text": rows.query_text,
        "query_type": "member",
        "document_text": rows.document_text,
        "document_type": "job",
        "label": pd.Series(1.0, rows.index, "float32"),
        "query_group": rows.group,
        "document_group": rows.group,
        "time": pd.to_datetime(rows.open_date, utc=True).astype("datetime64[us, UTC]"),
        "source": rows.source,
    }
    return pa.Table.from_pandas(pd.DataFrame(table), preserve_index=False)


def main(folder: Path) -> None:
    """Write pairs.parquet to train on, and unseen.parquet: titles first posted later and never trained on."""
    federal = usajobs(folder / "rel_usajobs_title_series")
    before, after = federal[federal.open_date < BORDER], federal[federal.open_date >= BORDER]
    sources = [onet(folder / "onet"), esco(folder / "esco"), before]
    drawn = [rows.sample(min(len(rows), ROWS_PER_SOURCE), random_state=SEED) for rows in sources]
    train = pd.concat([rows.assign(open_date=rows.get("open_date")) for rows in drawn])
    # An unseen title is one that no source trains on, however it is written.
    seen = set(train.query_text.str.casefold().str.strip())
    unseen = after[~after.query_text.str.casefold().str.strip().isin(seen)]
    TARGET.mkdir(parents=True, exist_ok=True)
    for name, rows in (("pairs", train), ("unseen", unseen)):
        table = as_pairs(rows)
        pq.write_table(table, TARGET / f"{name}.parquet", compression="zstd", compression_level=19)
        print(f"{name}: {table.num_rows} pairs")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
