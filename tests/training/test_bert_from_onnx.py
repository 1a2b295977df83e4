"""An ONNX file's tensors become torch's by their names, quantised or not."""

from typing import Any

import numpy as np

from scripts.bert_from_onnx import named_weights


def test_a_product_is_named_after_its_layer_and_turned() -> None:
    arrays = {"onnx::MatMul_7": np.asarray([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], np.float32)}
    products = [
        ("/encoder/layer.0/output/dense/MatMul", "onnx::MatMul_7"),
        ("/encoder/layer.0/attention/self/MatMul", "/encoder/layer.0/attention/self/Transpose_output_0"),  # no weight
    ]
    found = named_weights(arrays, products)
    assert list(found) == ["encoder.layer.0.output.dense.weight"]
    assert found["encoder.layer.0.output.dense.weight"].tolist() == [[1, 4], [2, 5], [3, 6]]


def test_eight_bits_are_read_as_floats_by_column_or_by_tensor() -> None:
    arrays: dict[str, Any] = {
        "onnx::MatMul_7_quantized": np.asarray([[10, 20], [30, -40]], np.int8),
        "onnx::MatMul_7_zero_point": np.asarray([0, 10], np.int8),
        "onnx::MatMul_7_scale": np.asarray([0.5, 0.1], np.float32),
        "embeddings.word_embeddings.weight_quantized": np.asarray([[130, 128]], np.uint8),
        "embeddings.word_embeddings.weight_zero_point": np.asarray(128, np.uint8),
        "embeddings.word_embeddings.weight_scale": np.asarray(0.25, np.float32),
        "embeddings.LayerNorm.bias": np.asarray([0.5, 1.5], np.float32),
    }
    found = named_weights(arrays, [("/encoder/layer.0/output/dense/MatMul_quant", "onnx::MatMul_7_quantized")])
    assert found.keys() == {
        "encoder.layer.0.output.dense.weight", "embeddings.word_embeddings.weight", "embeddings.LayerNorm.bias",
    }  # fmt: skip
    np.testing.assert_allclose(found["encoder.layer.0.output.dense.weight"], [[5, 15], [1, -5]], rtol=1e-6)
    assert found["embeddings.word_embeddings.weight"].tolist() == [[0.5, 0]]
    assert found["embeddings.LayerNorm.bias"].tolist() == [0.5, 1.5]
