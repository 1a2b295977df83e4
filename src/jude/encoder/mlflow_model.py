"""The MLflow pyfunc of a model folder; MLflow runs this file as it stands when it loads the model."""

from __future__ import annotations

from typing import Any

import mlflow.pyfunc
from mlflow.models import set_model

from jude.encoder import EncoderSpec, open_encoder, open_tokeniser


class Embedder(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # MLflow is Any to mypy
    """Texts in (the first column, or a list), one list of floats per text out."""

    def load_context(self, context: Any) -> None:  # noqa: ANN401 - MLflow's own object
        """Open the folder that was saved with the model."""
        spec = EncoderSpec("folder", path=context.artifacts["model"])
        self._tokeniser, self._encoder = open_tokeniser(spec), open_encoder(spec)

    def predict(self, context: Any, model_input: Any, params: Any = None) -> list[list[float]]:  # noqa: ANN401 - MLflow's
        """Embed texts without a prompt: the caller writes it before the text where the model wants one."""
        column = model_input.iloc[:, 0] if hasattr(model_input, "iloc") else model_input
        inputs = self._tokeniser.inputs("", [str(text) for text in column])
        vectors: list[list[float]] = self._encoder.encode([made.token_ids for made in inputs]).tolist()
        return vectors


set_model(Embedder())
