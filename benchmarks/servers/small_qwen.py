"""A Qwen3 of 29.4 million random weights in a folder that ours and every peer read.

8 layers, width 512, feed-forward 1,536, 8 heads of 64 and 4 key-value heads, vocabulary 8,192: large enough that the
arithmetic decides, small enough that a CPU serves it. Last pooling, unit norm, one token per word.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor

VOCABULARY, WIDTH, LAYERS, WIDE, HEADS, KEY_VALUE_HEADS, HEAD = 8192, 512, 8, 1536, 8, 4, 64
MAX_TOKENS = 512
EOS = "<|endoftext|>"

_CONFIG: dict[str, Any] = {
    "architectures": ["Qwen3Model"],
    "model_type": "qwen3",
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "intermediate_size": WIDE,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KEY_VALUE_HEADS,
    "head_dim": HEAD,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "rope_theta": 1_000_000.0,
    "max_position_embeddings": MAX_TOKENS,
    "tie_word_embeddings": True,
    "attention_bias": False,
    "use_sliding_window": False,
    "torch_dtype": "float32",
    "eos_token_id": 0,
    "bos_token_id": None,
}
_MODULES = ("Transformer", "Pooling", "Normalize")


def make_folder(folder: Path, seed: int = 7) -> Path:
    """Write the model; the same seed gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights(seed), folder / "model.safetensors", metadata={"format": "pt"})
    return write_layout(folder, _CONFIG, MAX_TOKENS)


def write_layout(folder: Path, config: dict[str, Any], max_tokens: int) -> Path:
    """Write everything but the weights: a decoder with last pooling, and a tokeniser with one token per word."""
    _tokeniser(config["vocab_size"]).save(str(folder / "tokenizer.json"))
    files: dict[str, Any] = {
        "config.json": config,
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": EOS, "pad_token": EOS, "unk_token": "<unk>",
            "model_max_length": max_tokens, "padding_side": "left",
        },
        "modules.json": [
            {"idx": n, "name": str(n), "path": "" if n == 0 else f"{n}_{name}",
             "type": f"sentence_transformers.models.{name}"}
            for n, name in enumerate(_MODULES)
        ],
        "sentence_bert_config.json": {"max_seq_length": max_tokens, "do_lower_case": False},
        "1_Pooling/config.json": {
            "word_embedding_dimension": config["hidden_size"], "pooling_mode_lasttoken": True,
            "pooling_mode_mean_tokens": False, "pooling_mode_cls_token": False,
        },
    }  # fmt: skip
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content, indent=1))
    (folder / "2_Normalize").mkdir(exist_ok=True)
    return folder


def weights(seed: int) -> dict[str, Tensor]:
    """Random weights by the names that transformers gives them."""
    generator = torch.Generator().manual_seed(seed)

    def matrix(rows: int, columns: int) -> Tensor:
        scaled: Tensor = torch.randn(rows, columns, generator=generator) * columns**-0.5
        return scaled

    found = {
        "embed_tokens.weight": torch.randn(VOCABULARY, WIDTH, generator=generator),
        "norm.weight": torch.ones(WIDTH),
    }
    for n in range(LAYERS):
        layer = {
            "self_attn.q_proj": matrix(HEADS * HEAD, WIDTH),
            "self_attn.k_proj": matrix(KEY_VALUE_HEADS * HEAD, WIDTH),
            "self_attn.v_proj": matrix(KEY_VALUE_HEADS * HEAD, WIDTH),
            "self_attn.o_proj": matrix(WIDTH, HEADS * HEAD),
            "self_attn.q_norm": torch.ones(HEAD),
            "self_attn.k_norm": torch.ones(HEAD),
            "mlp.gate_proj": matrix(WIDE, WIDTH),
            "mlp.up_proj": matrix(WIDE, WIDTH),
            "mlp.down_proj": matrix(WIDTH, WIDE),
            "input_layernorm": torch.ones(WIDTH),
            "post_attention_layernorm": torch.ones(WIDTH),
        }
        found |= {f"layers.{n}.{name}.weight": tensor for name, tensor in layer.items()}
    return found


def words(count: int, start: int) -> str:
    """A text of `count` words of the vocabulary, other ones for another start."""
    return " ".join(f"w{2 + (start * 7919 + n * 104_729) % (VOCABULARY - 2)}" for n in range(count))


def _tokeniser(size: int) -> Tokenizer:
    vocabulary = {EOS: 0, "<unk>": 1, **{f"w{n}": n for n in range(2, size)}}
    tokeniser = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokeniser.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokeniser.post_processor = processors.TemplateProcessing(single=f"$A {EOS}", special_tokens=[(EOS, 0)])
    return tokeniser
