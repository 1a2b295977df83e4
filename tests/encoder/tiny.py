"""Model folders with tiny random weights: every family's own architecture, made by transformers itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{n}" for n in range(60)))
EOS = 3
WIDTH = 32

_SIZE = {"vocab_size": len(WORDS), "hidden_size": WIDTH, "num_hidden_layers": 3, "num_attention_heads": 4}
_ENCODER = {"intermediate_size": 64, "max_position_embeddings": 70, "pad_token_id": 0, "hidden_dropout_prob": 0.0}
_DECODER = {"intermediate_size": 48, "num_key_value_heads": 2, "max_position_embeddings": 512, "pad_token_id": 0,
            "eos_token_id": EOS, "bos_token_id": 2}  # fmt: skip
FAMILIES: dict[str, dict[str, Any]] = {
    "bert": _ENCODER,
    "xlm-roberta": {**_ENCODER, "type_vocab_size": 1, "pad_token_id": 1},
    "mpnet": {**_ENCODER, "pad_token_id": 1},  # stands for every family without a forward pass of our own
    "mistral": {**_DECODER, "head_dim": 12, "rope_theta": 1e4, "sliding_window": None},
    "llama": {**_DECODER, "attention_bias": True, "mlp_bias": True,
              "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                               "original_max_position_embeddings": 16}},
    "qwen2": _DECODER,
    "qwen3": {**_DECODER, "head_dim": 16, "rope_theta": 1e6},
    "gemma": {**_DECODER, "head_dim": 16, "num_key_value_heads": 1},
}  # fmt: skip
DECODERS = ("mistral", "llama", "qwen2", "qwen3", "gemma")


def build(family: str, folder: Path, *, pooling: str | None = None, dtype: str = "float32", **more: Any) -> Path:
    """Write one folder in the layout of sentence-transformers. Norms and biases are random, too, so that they count."""
    import torch
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(7)
    model = AutoModel.from_config(AutoConfig.for_model(family, **{**_SIZE, **FAMILIES[family], **more}))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
            elif "embed" not in name:
                parameter.mul_(4)  # attention that attends: with the default scale it is nearly an average
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    _write_tokeniser(folder)
    _write_modules(folder, pooling or ("last" if family in DECODERS else "mean"))
    return folder


def _write_tokeniser(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", EOS)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "unk_token": "[UNK]",
              "cls_token": "[CLS]", "sep_token": "[SEP]", "eos_token": "[SEP]", "padding_side": "right"}  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def _write_modules(folder: Path, pooling: str) -> None:
    name = {"last": "lasttoken", "weighted_mean": "weightedmean_tokens", "cls": "cls_token", "mean": "mean_tokens"}
    places = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
    modules = [{"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
               for n, (kind, path) in enumerate(places.items())]  # fmt: skip
    (folder / "1_Pooling").mkdir()
    pooled = {"word_embedding_dimension": WIDTH, f"pooling_mode_{name[pooling]}": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooled))
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 64}))


def inputs() -> list[list[int]]:
    """Texts of many lengths, several of equal length, each ending in EOS; the same every time."""
    lengths = (1, 2, 3, 3, 5, 8, 8, 13, 21, 34, 55, 64)
    return [[(7 * n + 11 * i * i + 5) % 60 + 4 for i in range(length - 1)] + [EOS] for n, length in enumerate(lengths)]
