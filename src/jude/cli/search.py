"""`jude search`: the entities whose vectors are closest to a text, by exact cosine over the store."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from jude.cli.place import Place
from jude.cli.show import open_console, plain, print_json
from jude.encoder import open_encoder, open_tokeniser
from jude.errors import TerminalError
from jude.tables.vectors import Hit, search


@dataclass(frozen=True, slots=True)
class Results:
    """What was found for one entity type, best first."""

    entity_type: str
    hits: list[Hit]


def search_text(place: Place, text: str, entity: str | None, k: int) -> list[Results]:
    """Encode the text as each entity type's would be, and find its k nearest.

    Raises TerminalError for an empty text, for an empty deployment, and for vectors of another model.
    """
    types = place.entity_types(entity)
    if not text.strip():
        raise TerminalError('The text is empty: jude search "nurse in a small hospital".')
    place.require_rows()
    return [
        Results(t, search(place.root, query, t, place.model_version, k, place.entities[t].title_field))
        for t, query in query_vectors(place, text, types).items()
    ]


def query_vectors(place: Place, text: str, types: list[str]) -> dict[str, NDArray[np.float32]]:
    """Give one float32 [width] per entity type: prompts may differ."""
    tokeniser, encoder = open_tokeniser(place.spec), open_encoder(place.spec)
    if tokeniser.model_version != place.model_version:
        raise TerminalError(
            f"The vectors in use are of model version {place.model_version}; the settings describe "
            f"{tokeniser.model_version}, which cannot be compared. Give the settings of that version (--conf)."
        )
    inputs = [tokeniser.inputs(entity_type, [text])[0] for entity_type in types]
    vectors_TD = encoder.encode([model_input.token_ids for model_input in inputs])
    return dict(zip(types, vectors_TD, strict=True))


def hit_line(hit: Hit, characters: int) -> str:
    """Give score, id and title on one line."""
    head = f"  {hit.score:6.3f}  {plain(hit.entity_id, 40)}  "
    return head + plain(hit.title, max(8, characters - len(head)))


def show_results(found: list[Results], *, as_json: bool) -> None:
    """Print score, id and title, and the beginning of the text below; or JSON."""
    if as_json:
        hits = [{"entity_type": results.entity_type, **asdict(hit)} for results in found for hit in results.hits]
        print_json(hits)
        return
    console = open_console()
    for results in found:
        console.print(results.entity_type, style="bold")
        if not results.hits:
            console.print("  nothing live of this type yet")
        for hit in results.hits:
            console.print(hit_line(hit, console.width), soft_wrap=True)
            console.print(f"          {plain(hit.snippet, 68)}", style="dim")
