"""`jude embed "text"`: ask a running server for one vector."""

from __future__ import annotations

from dataclasses import replace

from jude.cli.show import open_console, print_json
from jude.errors import TerminalEncoderError
from jude.serving.client import EmbeddingClient, Embeddings, Wanted
from jude.serving.refusal import Code, RefusedError
from jude.settings import Settings
from jude.stream.opening import server_address

_SHOWN_NUMBERS = 6
_PATIENCE_SECONDS = 10.0


def embed_text(settings: Settings, text: str, entity_type: str, target: str | None, model: str | None) -> Embeddings:
    """Embed one text. Raises RefusedError with the server's reason, TerminalEncoderError when there is no server."""
    address = server_address(settings.encoder.server)
    address = replace(address, target=target) if target else address
    client = EmbeddingClient(address, timeout_seconds=min(_PATIENCE_SECONDS, settings.encoder.timeout_seconds))
    wanted = Wanted(model=model or settings.encoder.server.model, entity_type=entity_type)
    try:
        return client.embed(text, wanted)
    except RefusedError as refused:
        if refused.code is not Code.UNAVAILABLE:
            raise
        raise TerminalEncoderError(f"No embedding server answers at {address.target}. Start one: jude serve") from None


def show_embedding(found: Embeddings, *, as_json: bool) -> None:
    """Print the version, the hash, the token count and the first numbers; or all of it as JSON."""
    vector = found.vectors[0]
    if as_json:
        print_json(
            {
                "model_version": found.model_version,
                "input_hash": found.input_hashes[0],
                "tokens": found.tokens[0],
                "truncated": found.truncated[0],
                "vector": vector.tolist(),
            }
        )
        return
    first = ", ".join(f"{number:.4f}" for number in vector[:_SHOWN_NUMBERS])
    console = open_console()
    console.print(f"{found.model_version}  {found.tokens[0]} tokens{', cut' if found.truncated[0] else ''}")
    console.print(f"input {found.input_hashes[0]}")
    console.print(f"[{first}, … {len(vector)} numbers]", markup=False)
