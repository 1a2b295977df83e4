"""Make .jude/synonyms/pairs.parquet from O*NET and ESCO: two names of one occupation, and none that MELO asks for.

python -m scripts.synonyms FOLDER      FOLDER holds onet/, esco/ and rel_melo_onet_esco/

MELO asks which ESCO labels an O*NET title means. No occupation that it asks for or that answers it is trained on, no
text of these on either side of a pair, and nothing that joins O*NET and ESCO.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import pandas as pd
import pyarrow.parquet as pq

from scripts.build_training_data import as_pairs, esco, onet

TARGET: Final = Path(".jude/synonyms/pairs.parquet")


def main(folder: Path) -> None:
    asked, answers, labels = melo(folder / "rel_melo_onet_esco")
    titles = onet(folder / "onet")
    titles = titles.assign(document_text=titles.document_text.str.split(". ", regex=False).str[0])
    occupations = esco(folder / "esco").drop(columns="document_text").rename(columns={"label": "document_text"})
    pairs = pd.concat([titles, occupations[~occupations.uri.isin(answers)]])
    pairs = pairs[~pairs.group.isin(pairs.group[pairs.document_text.str.casefold().isin(asked)])]
    for side in ("query_text", "document_text"):
        pairs = pairs[~pairs[side].str.strip().str.casefold().isin(asked | labels)]
    table = as_pairs(pairs.assign(open_date=None))
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, TARGET)
    print(f"{TARGET}: {table.num_rows} pairs of {pairs.group.nunique()} occupations")


def melo(folder: Path) -> tuple[set[str], set[str], set[str]]:
    """MELO's questions, the ESCO occupations that answer them, and all labels of these."""
    names = ("queries", "corpus", "qrels")
    queries, corpus, judged = (pd.read_csv(folder / f"{name}.tsv.gz", sep="\t") for name in names)
    answers = set(corpus[corpus.doc_id.isin(judged.doc_id)].esco_uri)
    labels = corpus[corpus.esco_uri.isin(answers)].text
    return set(queries.text.str.casefold()), answers, set(labels.str.casefold())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
