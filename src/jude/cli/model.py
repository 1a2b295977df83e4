"""`jude model`: bring models in and out, register what was trained, and say which one is next to serve."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from jude.cli.releases import add_commands

model = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Models: in and out as folders, and registered.")
add_commands(model)


class Layout(StrEnum):
    """What `jude model export` writes."""

    SENTENCE_TRANSFORMERS = "sentence-transformers"
    MLFLOW = "mlflow"


@model.command("import")
def import_command(
    source: Annotated[Path, typer.Argument(help="A folder of transformers, sentence-transformers or MLflow.")],
    target: Annotated[Path, typer.Argument(help="The new folder.")],
    pooling: Annotated[str | None, typer.Option(help="mean, last, cls or weighted_mean; default: as it says.")] = None,
    mask: Annotated[
        str | None, typer.Option(help="causal or bidirectional; default: as it says, or its family.")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Longer texts are cut here.")] = None,
    width: Annotated[
        list[int] | None, typer.Option(help="A width to cut vectors to; repeatable; default: as it says.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What its versions are called; default: the family.")] = None,
    gguf_file: Annotated[str | None, typer.Option(help="Weights in the folder that are a GGUF file.")] = None,
    adapter: Annotated[Path | None, typer.Option(help="A LoRA adapter to merge, in float32.")] = None,
) -> None:
    """Write a folder that JUDE, sentence-transformers and transformers read alike."""
    from jude.encoder import EncoderSpec, open_tokeniser
    from jude.encoder.importing import import_model

    made = import_model(
        source, target, pooling=pooling, mask=mask, max_tokens=max_tokens, widths=tuple(width or ()), name=name,
        gguf_file=gguf_file, adapter=adapter,
    )  # fmt: skip
    version = open_tokeniser(EncoderSpec("folder", path=str(target))).model_version
    print(f"{target}: {made.family}, {made.pooling} pooling, {made.mask}, {made.width} numbers, {version}")
    print(f"Use it: --set encoder.kind=folder --set encoder.path={target}")


@model.command("export")
def export_command(
    folder: Annotated[Path, typer.Argument(help="A model folder.")],
    target: Annotated[Path, typer.Argument(help="The new folder.")],
    layout: Annotated[Layout, typer.Option("--to")] = Layout.SENTENCE_TRANSFORMERS,
) -> None:
    """Write a folder of sentence-transformers, or an MLflow pyfunc that embeds texts."""
    from jude.encoder.importing import export_folder, export_mlflow

    (export_mlflow if layout is Layout.MLFLOW else export_folder)(folder, target)
    print(f"{target}: written in the layout of {layout.value}")
