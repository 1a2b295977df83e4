"""Make a model folder of a BERT that lies as an ONNX file, also one of eight bits a weight: read as float32.

python -m scripts.bert_from_onnx MODEL.onnx TOKENIZER.json FOLDER      needs the package onnx; heads of 32 numbers each

Such a folder is a base to train on: `model.base: FOLDER`, or `python -m scripts.distil --teacher-base FOLDER`.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

Floats = NDArray[np.float32]
HEAD: Final = 32  # MiniLM's kin; an ONNX file does not say


def main(source: Path, tokeniser: Path, folder: Path) -> None:
    import onnx
    from onnx.numpy_helper import to_array

    graph = onnx.load(source).graph
    arrays = {found.name: to_array(found) for found in graph.initializer}
    products = [(node.name, node.input[1]) for node in graph.node if node.op_type in ("MatMul", "MatMulInteger")]
    weights = named_weights(arrays, products)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    shutil.copy(tokeniser, folder / "tokenizer.json")
    (folder / "config.json").write_text(json.dumps(config_of(weights), indent=1))
    print(f"{folder}: {len(weights)} tensors, {sum(found.size for found in weights.values()):,} weights")


def named_weights(arrays: Mapping[str, NDArray[Any]], products: Iterable[tuple[str, str]]) -> dict[str, Floats]:
    """Give the weights by their names in torch.

    The export keeps the names of embeddings, norms and biases. Weights of products lie transposed under numbers; the
    name of the product's node is the path of its layer. What is quantised lies as three: (whole - zero) * scale.
    """
    plain = {name.removesuffix("_quantized") for name in arrays}
    kept = {name: _real(arrays, name) for name in plain if name.endswith((".weight", ".bias"))}
    for node, given in products:
        name = given.removesuffix("_quantized")
        if name in plain:  # products of two activations have none
            layer = node.strip("/").rsplit("/", 1)[0].replace("/", ".")
            kept[f"{layer}.weight"] = np.ascontiguousarray(_real(arrays, name).T)
    return kept


def _real(arrays: Mapping[str, NDArray[Any]], name: str) -> Floats:
    if name in arrays:
        return arrays[name].astype(np.float32)
    whole, zero = (arrays[f"{name}_{part}"].astype(np.float32) for part in ("quantized", "zero_point"))
    found: Floats = (whole - zero) * arrays[f"{name}_scale"]
    return found


def config_of(weights: Mapping[str, Floats]) -> dict[str, Any]:
    """Describe a BERT by the shapes of its weights."""
    words, width = weights["embeddings.word_embeddings.weight"].shape
    return {
        "model_type": "bert", "architectures": ["BertModel"], "vocab_size": words, "hidden_size": width,
        "num_hidden_layers": sum(name.endswith("attention.self.query.weight") for name in weights),
        "num_attention_heads": width // HEAD, "hidden_act": "gelu", "layer_norm_eps": 1e-12, "pad_token_id": 0,
        "intermediate_size": len(weights["encoder.layer.0.intermediate.dense.weight"]),
        "max_position_embeddings": len(weights["embeddings.position_embeddings.weight"]),
        "type_vocab_size": len(weights["embeddings.token_type_embeddings.weight"]),
    }  # fmt: skip


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
