"""Make .jude/synonyms/pairs.parquet from O*NET and ESCO: names of one occupation, and what it does, in a few sentences.

python -m scripts.synonyms FOLDER      FOLDER holds onet/, esco/ and rel_melo_onet_esco/

MELO asks which ESCO labels an O*NET title means. No occupation that it asks for or that answers it is trained on, no
text of these on either side of a pair, and nothing that joins O*NET and ESCO.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import pandas as pd

from scripts.build_training_data import SEED, as_pairs, esco, onet
from scripts.title_lists import write_whole

TARGET: Final = Path(".jude/synonyms/pairs.parquet")
DESCRIBED: Final = 1  # names of an occupation that stand beside its description
TASKS: Final = 6  # of an O*NET occupation, each beside the description: sentences, so that long texts are not forgotten


def main(folder: Path) -> None:
    asked, answers, labels = melo(folder / "rel_melo_onet_esco")
    named = pd.concat([american(folder / "onet"), european(folder / "esco", answers)])
    named = named[~named.label.str.casefold().isin(asked)]
    by_source = dict(list(named.groupby("source")))
    titles = by_source["onet"].assign(document_text=by_source["onet"].label)
    pairs = pd.concat([titles, beside_another(by_source["esco"]), described(named, folder / "onet")])
    for side in ("query_text", "document_text"):
        pairs = pairs[~pairs[side].str.strip().str.casefold().isin(asked | labels)]
    table = as_pairs(pairs.assign(open_date=None))
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    write_whole(table, TARGET)
    counted = ", ".join(
        f"{found['counts']:,} {found['values']}" for found in table["source"].value_counts().to_pylist()
    )
    print(f"{TARGET}: {table.num_rows} pairs of {pairs.group.nunique()} occupations ({counted})")


def american(folder: Path) -> pd.DataFrame:
    """Columns out: query_text (an alternate or reported title), label, description, group, source."""
    titles = onet(folder)
    parts = titles.document_text.str.partition(". ")
    return titles.assign(label=parts[0], description=parts[2])


def european(folder: Path, answers: set[str]) -> pd.DataFrame:
    """Columns out: query_text (an alternative label), label, description, group, source."""
    labels = esco(folder)
    return labels[~labels.uri.isin(answers)].assign(description=lambda kept: kept.document_text)


def beside_another(labels: pd.DataFrame) -> pd.DataFrame:
    """Pair each label of an occupation, the preferred one too, with the next in a random order.

    Against the preferred label alone a batch would hold the same few documents again and again.
    """
    every = pd.concat([labels, labels.assign(query_text=labels.label)]).drop_duplicates(["group", "query_text"])
    ordered = every.sample(frac=1, random_state=SEED, ignore_index=True)
    of_one = ordered.groupby("group").query_text
    return ordered.assign(document_text=of_one.shift(-1).fillna(of_one.transform("first")))


def described(named: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Pair names and tasks with the description of their occupation."""
    names = named.sample(frac=1, random_state=SEED).groupby("group").head(DESCRIBED)
    tasks = pd.read_csv(folder / "tasks.csv.gz").rename(columns={"task": "query_text"})
    tasks = tasks.assign(group="onet " + tasks.onet_soc)[["query_text", "group"]]
    some = tasks.sample(frac=1, random_state=SEED).groupby("group").head(TASKS)
    tasks = some.merge(named[["group", "description"]].drop_duplicates("group"), on="group")
    both = pd.concat([names, tasks])
    return both.assign(document_text=both.description, source="descriptions")


def melo(folder: Path) -> tuple[set[str], set[str], set[str]]:
    """MELO's questions, the ESCO occupations that answer them, and all labels of these."""
    names = ("queries", "corpus", "qrels")
    queries, corpus, judged = (pd.read_csv(folder / f"{name}.tsv.gz", sep="\t") for name in names)
    answers = set(corpus[corpus.doc_id.isin(judged.doc_id)].esco_uri)
    labels = corpus[corpus.esco_uri.isin(answers)].text
    return set(queries.text.str.casefold()), answers, set(labels.str.casefold())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
