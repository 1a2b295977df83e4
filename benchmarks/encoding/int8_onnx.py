"""In the environment of the peer `onnx`: a model folder as int8 for ONNX Runtime, as sentence-transformers says it.

python -m benchmarks.encoding.int8_onnx FOLDER TARGET
"""

from __future__ import annotations

import sys


def main(folder: str, target: str) -> None:
    from sentence_transformers import SentenceTransformer, export_dynamic_quantized_onnx_model

    model = SentenceTransformer(folder, backend="onnx", device="cpu", model_kwargs={"export": True})
    model.save_pretrained(target)
    export_dynamic_quantized_onnx_model(model, "avx512_vnni", target)


if __name__ == "__main__":
    main(*sys.argv[1:])
